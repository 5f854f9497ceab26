"""A Trainer that reads a corpus as a stream, and whose checkpoints say where every reader stood."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import IntervalStrategy

from tbps.data.atomic_files import write_atomically
from tbps.data.bad_samples import gather_skipped
from tbps.data.corpora.corpus import Corpus
from tbps.data.corpora.stream import ReaderPosition
from tbps.data.streamed_pairs import StreamCollator, StreamedPairs
from tbps.training.arguments import TBPSTrainingArguments
from tbps.training.checkpoints import CheckpointError

# what needs an index of all pairs, and the value at which it asks for nothing
UNSTREAMED = {"samples_per_identity": 1, "length_group_window": 0, "cache_images": False, "noisy_pairs": "ignore"}


@dataclass
class StreamPosition:
    """How far one process has trained: after the last batch of each of its readers, whose turn is next, and which files
    were passed over since the last log."""

    read_by: dict[str, Any]  # what the readers' shares depend on
    next_worker: int = 0
    places: dict[int, ReaderPosition] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def take(self, batch: str) -> list[str]:
        """Note a batch that is trained on, by its "stream" (see `StreamCollator`); returns its files."""
        found = json.loads(batch)
        self.places[found["worker"]] = ReaderPosition(**found["place"])
        self.skipped += found["skipped"]
        self.next_worker = (found["worker"] + 1) % max(1, self.read_by["dataloader_num_workers"])
        files: list[str] = found["files"]
        return files

    def write(self, folder: Path, process: int) -> None:
        """Put it beside the random state of its process."""
        write_atomically(folder / position_file(process), json.dumps(asdict(self)).encode())


def position_file(process: int) -> str:
    """The name of a process's file in a checkpoint."""
    return f"stream_{process}.json"


def read_position(checkpoint: Path, process: int, read_by: dict[str, Any]) -> StreamPosition:
    """The position that a checkpoint holds for a process.

    Raises:
        CheckpointError: it holds none, or that of other readers.
    """
    path = checkpoint / position_file(process)
    if not path.is_file():
        raise CheckpointError(f"{checkpoint} has no {path.name}: it was not trained on a corpus by so many processes.")
    found = json.loads(path.read_bytes())
    for key, value in read_by.items():
        known = found["read_by"].get(key)
        if known != value:
            raise CheckpointError(
                f"{checkpoint} was trained with {key}={known}, and this run has {key}={value}: the shards would be "
                "shared out anew. Resume with the same, or start from its weights (model_name_or_path)."
            )
    places = {int(worker): ReaderPosition(**place) for worker, place in found["places"].items()}
    return StreamPosition(read_by, found["next_worker"], places, found["skipped"])


class StreamTrainer(Trainer):
    """`transformers.Trainer`, which over `StreamedPairs` goes on with the pair after the last one trained on. It would
    read and throw away all before it, and give every process the same rows."""

    args: TBPSTrainingArguments
    stream_position: StreamPosition
    stream_files: tuple[str, ...] = ()  # of the batch that is trained on

    def get_train_dataloader(self) -> DataLoader[Any]:
        """A loader of this process's own batches; none is incomplete."""
        pairs = self.train_dataset
        if not isinstance(pairs, StreamedPairs):
            return super().get_train_dataloader()
        return DataLoader(
            pairs,
            batch_size=self.args.train_batch_size,
            collate_fn=StreamCollator(self.data_collator),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            multiprocessing_context=self.args.dataloader_multiprocessing_context,
            generator=torch.Generator(),  # else it draws from the one that dropout draws from
        )

    def _inner_training_loop(self, *args: Any, resume_from_checkpoint: str | None = None, **kwargs: Any) -> Any:
        pairs = self.train_dataset
        if isinstance(pairs, StreamedPairs):
            position = StreamPosition(reading_settings(pairs, self.args))
            if resume_from_checkpoint is not None:
                folder = Path(resume_from_checkpoint)
                position = read_position(folder, self.args.process_index, position.read_by)
            pairs.resume(position.places, position.next_worker)
            self.stream_position, self.args.ignore_data_skip = position, True
        return super()._inner_training_loop(*args, resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if "stream" in inputs:
            self.stream_files = tuple(self.stream_position.take(inputs.pop("stream")))
        return super()._prepare_inputs(inputs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log; with the training loss, and at the end, also the rows that were skipped since."""
        pairs, skipped = self.train_dataset, dict[str, Any]()
        due = "loss" in logs or "train_loss" in logs
        if due and isinstance(pairs, StreamedPairs) and pairs.on_bad_sample == "skip":
            skipped = gather_skipped(self.stream_position.skipped)
            self.stream_position.skipped = []
        if skipped:
            logs["skipped_samples"] = skipped["skipped_samples"]
        super().log(logs, start_time)
        self.state.log_history[-1] |= skipped

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)  # every process calls this
        if isinstance(self.train_dataset, StreamedPairs):
            self.stream_position.write(Path(output_dir), self.args.process_index)


class CorpusEpoch(TrainerCallback):
    """Lets the epoch that is logged be the passes over the corpus; Trainer takes all of the training for one."""

    def __init__(self, images: int) -> None:
        self.images = images

    def on_step_end(
        self, args: TBPSTrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Called before a step is logged."""
        batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        state.epoch = state.global_step * batch / self.images


def reading_settings(pairs: StreamedPairs, args: TBPSTrainingArguments) -> dict[str, Any]:
    """What decides which reader gets which rows, and when."""
    return {
        "world_size": pairs.processes,
        "dataloader_num_workers": args.dataloader_num_workers,
        "per_device_train_batch_size": args.per_device_train_batch_size,
        "seed": pairs.seed,
        "shuffle_buffer": pairs.buffer,
        "corpus": f"{pairs.corpus.name} of {len(pairs.corpus)} images, checksum {pairs.corpus.checksum}",
    }


def check_streamed(args: TBPSTrainingArguments, corpus: Corpus) -> None:
    """Refuse what a stream cannot do.

    Raises:
        ValueError: no `max_steps`; something is to be done every epoch; an option that needs an index of all pairs;
            CorpusError: more readers than shards.
    """
    if args.max_steps <= 0:
        batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        raise ValueError(
            f"max_steps={args.max_steps}: a corpus is read without end, so say how many steps to train. One pass over "
            f"its {len(corpus)} images is {len(corpus) // batch} steps of {batch}."
        )
    for name in ("logging_strategy", "eval_strategy", "save_strategy"):
        if getattr(args, name) == IntervalStrategy.EPOCH:
            raise ValueError(f"{name}='epoch': a stream has no end of an epoch, take 'steps' with a corpus.")
    for name, value in UNSTREAMED.items():
        if getattr(args, name) != value:
            raise ValueError(f"{name}={getattr(args, name)!r} needs an index of all pairs: leave it out with a corpus.")
    corpus.check_readers(args.world_size, max(1, args.dataloader_num_workers))
