"""Training batches: the pairs of a split or a corpus, their order, and the log of skipped samples."""

from collections.abc import Callable
from typing import Any

import datasets
import torch
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState

from tbps.data.augment import Augmentation
from tbps.data.bad_samples import gather_skipped
from tbps.data.corpora.corpus import Corpus
from tbps.data.pairs import PairCollator, PersonPairs
from tbps.data.samplers import IdentitySampler, LengthGroupedSampler
from tbps.data.streamed_pairs import StreamCollator, StreamedPairs
from tbps.processing_tbps import TBPSProcessor
from tbps.training.arguments import TBPSTrainingArguments
from tbps.training.streaming import check_streamed


def training_pairs(
    rows: datasets.Dataset | Corpus, processor: TBPSProcessor, args: TBPSTrainingArguments
) -> PersonPairs | StreamedPairs:
    """Make the pairs of a split or of a corpus, with the augmentation of the arguments.

    Raises:
        ValueError: an argument that a stream cannot honour.
    """
    augmentation = Augmentation(erase=args.random_erasing, color_jitter=args.color_jitter)
    settings = {
        "augmentation": augmentation if args.augment else None,
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


def order_of(pairs: PersonPairs, args: TBPSTrainingArguments) -> tuple[IdentitySampler, Any]:
    """Make the sampler that mixes identities and, around it, the one that groups captions by length if asked to.

    Returns:
        The identity sampler, which must know the epoch, and the sampler that a loader reads (often the same).
    """
    size = args.train_batch_size * args.world_size
    order = IdentitySampler(pairs.identity_labels, size, args.samples_per_identity, args.seed)
    if not args.length_group_window:
        return order, order
    lengths, labels = pairs.input_ids.lengths, pairs.identity_labels
    return order, LengthGroupedSampler(order, lengths, labels, size, args.length_group_window)


def stream_loader(pairs: StreamedPairs, args: TBPSTrainingArguments, collate: PairCollator) -> DataLoader[Any]:
    """Make the loader of this process's own batches; none is incomplete."""
    return DataLoader(
        pairs,
        batch_size=args.train_batch_size,
        collate_fn=StreamCollator(collate),
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory,
        prefetch_factor=args.dataloader_prefetch_factor,
        multiprocessing_context=args.dataloader_multiprocessing_context,
        generator=torch.Generator(),  # the default one is also dropout's, which a loader must not advance
    )


class SamplerEpoch(TrainerCallback):
    """Passes the epoch to the sampler. Trainer passes it to its loader, which does not hand it on when a training of
    several processes is resumed within an epoch (Transformers 5.23)."""

    def __init__(self, sampler: IdentitySampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(
        self, args: TBPSTrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the epoch before its first batch; a resumed training may begin in the middle of one."""
        self.sampler.set_epoch(int(state.epoch or 0))


class LogSkipped(TrainerCallback):
    """Logs the skipped samples of `PersonPairs` at the end of every epoch, and of a training that stops within one.

    Args:
        pairs: with `on_bad_sample="skip"`. log: the trainer's.
    """

    def __init__(self, pairs: PersonPairs, log: Callable[[dict[str, Any]], None]) -> None:
        self.pairs, self.log = pairs, log

    def on_epoch_end(
        self, args: TBPSTrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Collect from all processes, which all call this at the same step."""
        own = [image_name(self.pairs, pair) for pair in self.pairs.worker_log.take_skipped()]
        if skipped := gather_skipped(own):
            self.log({"skipped_samples": skipped["skipped_samples"]})
            state.log_history[-1] |= skipped


def image_name(pairs: PersonPairs, pair: int) -> str:
    """The file of a pair's image."""
    return pairs.images.name(int(pairs.row_of[pair]))
