"""Training on a corpus stream: what it cannot do, where each reader is, and how a checkpoint resumes it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import IntervalStrategy

from tbps.data.atomic_files import write_atomically
from tbps.data.corpora.corpus import Corpus
from tbps.data.corpora.stream import ReaderPosition
from tbps.data.streamed_pairs import StreamedPairs
from tbps.training.arguments import TBPSTrainingArguments
from tbps.training.checkpoints import CheckpointError

# arguments that need an index of all pairs, with the value that turns each off
UNSTREAMED = {"samples_per_identity": 1, "length_group_window": 0, "cache_images": False, "noisy_pairs": "ignore"}


@dataclass
class StreamPosition:
    """How far one process has trained on its stream; written to `stream_RANK.json` of a checkpoint.

    Attributes:
        read_by: settings that decide which reader gets which rows. next_worker: the loader worker whose turn it is.
        places: of each worker, after its last batch that was trained on. skipped: files skipped since the last log.
    """

    read_by: dict[str, Any]
    next_worker: int = 0
    places: dict[int, ReaderPosition] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def take(self, batch: str) -> list[str]:
        """Advance past a batch, given by its "stream" (see `StreamCollator`), and return its files."""
        found = json.loads(batch)
        self.places[found["worker"]] = ReaderPosition(**found["position"])
        self.skipped += found["skipped"]
        self.next_worker = (found["worker"] + 1) % max(1, self.read_by["dataloader_num_workers"])
        files: list[str] = found["files"]
        return files

    def take_skipped(self) -> list[str]:
        """Return the files skipped since the last call."""
        skipped, self.skipped = self.skipped, []
        return skipped

    def write(self, checkpoint: Path, process: int) -> None:
        """Write the position of a process into a checkpoint."""
        write_atomically(checkpoint / position_file(process), json.dumps(asdict(self)).encode())


def position_file(process: int) -> str:
    """The name of a process's file in a checkpoint."""
    return f"stream_{process}.json"


def read_position(checkpoint: Path, process: int, read_by: dict[str, Any]) -> StreamPosition:
    """Read the position of a process from a checkpoint.

    Raises:
        CheckpointError: the checkpoint has none, or was read by other settings than `read_by`.
    """
    path = checkpoint / position_file(process)
    if not path.is_file():
        raise CheckpointError(
            f"{checkpoint} has no {path.name}: it was not trained on a corpus, or by fewer processes. Resume with the "
            "same number of processes, or start from its weights (model_name_or_path)."
        )
    found = json.loads(path.read_bytes())
    for key, value in read_by.items():
        known = found["read_by"].get(key)
        if known != value:
            raise CheckpointError(
                f"{checkpoint} was trained with {key}={known}, and this run has {key}={value}, so readers would get "
                "other rows. Resume with the same value, or start from its weights (model_name_or_path)."
            )
    places = {int(worker): ReaderPosition(**place) for worker, place in found["places"].items()}
    return StreamPosition(read_by, found["next_worker"], places, found["skipped"])


def start_stream(pairs: StreamedPairs, args: TBPSTrainingArguments, checkpoint: Path | None) -> StreamPosition:
    """Let the next iteration over `pairs` continue from a checkpoint, or from the beginning.

    Raises:
        CheckpointError: see `read_position`.
    """
    settings = reading_settings(pairs, args)
    position = StreamPosition(settings)
    if checkpoint is not None:
        position = read_position(checkpoint, args.process_index, settings)
    pairs.resume(position.places, position.next_worker)
    return position


def reading_settings(pairs: StreamedPairs, args: TBPSTrainingArguments) -> dict[str, Any]:
    """Collect the settings that decide which reader gets which rows, and when."""
    return {
        "world_size": pairs.processes,
        "dataloader_num_workers": args.dataloader_num_workers,
        "per_device_train_batch_size": args.per_device_train_batch_size,
        "seed": pairs.seed,
        "shuffle_buffer": pairs.buffer,
        "corpus": f"{pairs.corpus.name} of {len(pairs.corpus)} images, checksum {pairs.corpus.checksum}",
    }


def check_streamed(args: TBPSTrainingArguments, corpus: Corpus) -> None:
    """Check that a stream can honour the arguments.

    Raises:
        ValueError: `max_steps` is missing, something is due every epoch, or an option needs an index of all pairs.
        CorpusError: there are more readers than shards.
    """
    if args.max_steps <= 0:
        batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        raise ValueError(
            f"max_steps={args.max_steps}: a corpus is an endless stream, so set the number of training steps. One pass "
            f"over its {len(corpus)} images is {len(corpus) // batch} steps of {batch}."
        )
    for name in ("logging_strategy", "eval_strategy", "save_strategy"):
        if getattr(args, name) == IntervalStrategy.EPOCH:
            raise ValueError(f"{name}='epoch': a stream has no end of an epoch. Use 'steps' with a corpus.")
    for name, value in UNSTREAMED.items():
        if getattr(args, name) != value:
            raise ValueError(f"{name}={getattr(args, name)!r} needs an index of all pairs. Leave it out with a corpus.")
    corpus.check_readers(args.world_size, max(1, args.dataloader_num_workers))


class CorpusEpoch(TrainerCallback):
    """Makes the logged epoch count passes over the corpus; for Trainer, the complete training is one epoch."""

    def __init__(self, images: int) -> None:
        self.images = images

    def on_step_end(
        self, args: TBPSTrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the epoch before a step is logged."""
        batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        state.epoch = state.global_step * batch / self.images
