"""A Trainer that feeds pairs: bytes made floats on the device, files named where loading fails, skipped ones logged."""

from typing import Any

import datasets
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState

from tbps.data.augment import Augmentation
from tbps.data.bad_samples import explain_dead_workers, gather_skipped
from tbps.data.corpora.corpus import Corpus
from tbps.data.pairs import PersonPairs
from tbps.data.streamed_pairs import StreamedPairs
from tbps.processing_tbps import TBPSProcessor
from tbps.training.arguments import TBPSTrainingArguments
from tbps.training.hub import HubTrainer
from tbps.training.streaming import check_streamed


def training_pairs(
    rows: datasets.Dataset | Corpus, processor: TBPSProcessor, args: TBPSTrainingArguments
) -> PersonPairs | StreamedPairs:
    """The pairs of a split or of a corpus, as the arguments ask for them.

    Raises:
        ValueError: the arguments ask for what a stream cannot do.
    """
    settings = {
        "augmentation": Augmentation(erase=args.random_erasing, color_jitter=args.color_jitter)
        if args.augment
        else None,
        "word_dropout": args.word_dropout,
        "augmentation_warmup_epochs": args.augmentation_warmup_epochs,
        "seed": args.seed,
        "on_bad_sample": args.on_bad_sample,
        "image_backend": args.image_backend,
    }
    if isinstance(rows, Corpus):
        check_streamed(args, rows)
        return StreamedPairs(
            rows, processor, args.process_index, args.world_size, buffer=args.shuffle_buffer, **settings
        )
    return PersonPairs(rows, processor, cache_images=args.cache_images, with_index=True, **settings)


class FedTrainer(HubTrainer):
    """`transformers.Trainer` over `PersonPairs` and the bytes of `PairCollator(as_bytes=True)`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        pairs = self.train_dataset
        if isinstance(pairs, PersonPairs) and pairs.on_bad_sample == "skip":
            self.add_callback(LogSkipped(self, pairs))

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        inputs = super()._prepare_inputs(inputs)
        pixels = inputs.get("pixel_values")
        if pixels is not None and pixels.dtype == torch.uint8:
            inputs["pixel_values"] = self.train_dataset.preparation.normalize(pixels)
        return inputs

    def batch_files(self, index: torch.Tensor | None) -> list[str]:
        """The images of a batch by the numbers of its pairs, as far as they are known."""
        pairs = self.train_dataset
        if index is None or not isinstance(pairs, PersonPairs):
            return []
        return [pairs.images.name(int(pairs.row_of[pair])) for pair in index.tolist()]

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        with explain_dead_workers(self.train_dataset):
            return super()._inner_training_loop(*args, **kwargs)


class LogSkipped(TrainerCallback):
    """Says at the end of every epoch, and of a training that stops within one, how many samples were skipped."""

    def __init__(self, trainer: FedTrainer, pairs: PersonPairs) -> None:
        self.trainer, self.pairs = trainer, pairs

    def on_epoch_end(
        self, args: TBPSTrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Collect from all processes; all call this at the same step."""
        own = [self.pairs.images.name(int(self.pairs.row_of[pair])) for pair in self.pairs.worker_log.take_skipped()]
        skipped = gather_skipped(own)
        if skipped:
            self.trainer.log({"skipped_samples": skipped["skipped_samples"]})
            state.log_history[-1] |= skipped
