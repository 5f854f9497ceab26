"""Training pairs of an image and a caption: the data set, and the collator that makes batches of them."""

from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers.utils import logging

from tbps.data.augment import Augmentation, augment_pair
from tbps.data.bad_samples import WorkerLog, replacements
from tbps.data.image_column import ImageColumn
from tbps.data.images import BadImageError
from tbps.data.preprocessing import PixelPreparation, stack_pixels
from tbps.data.splits import captions_of, person_ids_of
from tbps.processing_tbps import TBPSProcessor

logger = logging.get_logger(__name__)

Key = int | tuple[int, int]


class TokenTable:
    """The token ids of many captions in one flat array, 4 bytes per token.

    Lists of Python integers would take ten times as much memory, and again in every loader process.

    Attributes:
        lengths: (captions,), the number of tokens of each caption, including special tokens.
    """

    def __init__(self, captions: Sequence[Sequence[int]]) -> None:
        self.lengths = np.fromiter((len(ids) for ids in captions), dtype=np.int64, count=len(captions))
        self.ends = self.lengths.cumsum()
        total = int(self.ends[-1]) if len(captions) else 0
        self.tokens = np.fromiter((token for ids in captions for token in ids), dtype=np.int32, count=total)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> list[int]:
        """The token ids of one caption."""
        end = int(self.ends[index])
        return self.tokens[end - int(self.lengths[index]) : end].tolist()


class AugmentedPairs:
    """The common base of `PersonPairs` and `StreamedPairs`, which document the settings.

    Raises:
        ValueError: `on_bad_sample` is unknown, or `PixelPreparation` refuses the image processor or the backend.
    """

    def __init__(
        self,
        processor: TBPSProcessor,
        augmentation: Augmentation | None,
        word_dropout: float,
        augmentation_warmup_epochs: int,
        seed: int,
        on_bad_sample: str,
        image_backend: str,
    ) -> None:
        if on_bad_sample not in ("raise", "skip"):
            raise ValueError(f"on_bad_sample={on_bad_sample!r}: expected 'raise' or 'skip'.")
        self.processor, self.seed, self.on_bad_sample = processor, seed, on_bad_sample
        self.augmentation, self.word_dropout = augmentation, word_dropout
        self.augmentation_warmup_epochs = augmentation_warmup_epochs
        self.preparation = PixelPreparation(processor.image_processor, image_backend)

    def augmented(
        self, pixels: np.ndarray, input_ids: list[int], epoch: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[int]]:
        """Augment an image (H, W, 3) uint8 and its token ids, unless the epoch is a warm-up epoch."""
        if epoch < self.augmentation_warmup_epochs:
            return pixels, input_ids
        return augment_pair(pixels, input_ids, rng, self.preparation.blank, self.augmentation, self.word_dropout)


class PersonPairs(AugmentedPairs, torch.utils.data.Dataset[dict[str, Any]]):
    """All (image, caption) pairs of a benchmark split, for `TBPSTrainer` and for plain `transformers.Trainer`.

    The key of an item is its index, or (epoch, index) as `IdentitySampler` yields it. The augmentation is drawn from
    (seed, epoch, index), so it does not depend on the loading order, the number of workers or a resume.

    Args:
        rows: A split of `load_benchmark`, with columns image, captions and person_id.
        processor: The processor of the model to train.
        augmentation: Image augmentation; None for none.
        word_dropout: The probability of dropping each token of a caption.
        augmentation_warmup_epochs: The number of first epochs without augmentation and word dropout.
        seed: Seed of augmentation and replacements.
        cache_images: Keep all prepared images in memory (3*H*W bytes each). Only for small data sets, with
            `dataloader_num_workers=0`.
        on_bad_sample: "raise" an error at an unreadable image, or "skip" it: another pair takes its place (see
            `replacements`), and `worker_log` counts it.
        image_backend: The backend of `PixelPreparation`.
        with_index: Add the index of the pair to each item, for a trainer that tracks pairs.

    Attributes:
        num_identities: The number of people.
        identity_labels: (pairs,), the person of each pair, numbered from 0 to num_identities - 1.

    Raises:
        ValueError: The rows lack a column or have bad captions or ids, `on_bad_sample` is unknown, or
            `PixelPreparation` refuses the image processor or the backend.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        processor: TBPSProcessor,
        augmentation: Augmentation | None = None,
        word_dropout: float = 0.0,
        augmentation_warmup_epochs: int = 0,
        seed: int = 0,
        cache_images: bool = False,
        on_bad_sample: str = "raise",
        image_backend: str = "auto",
        with_index: bool = False,
    ) -> None:
        super().__init__(
            processor, augmentation, word_dropout, augmentation_warmup_epochs, seed, on_bad_sample, image_backend
        )
        self.images, self.with_index = ImageColumn(rows), with_index
        self.cache: dict[int, np.ndarray] | None = {} if cache_images else None
        captions = captions_of(rows)
        self.row_of = np.repeat(np.arange(len(rows)), [len(row) for row in captions])  # (pairs,)
        people, labels = np.unique(person_ids_of(rows), return_inverse=True)
        self.num_identities = len(people)
        self.identity_labels = labels[self.row_of]  # (pairs,) in 0..num_identities-1
        self.input_ids = self.tokenize([caption for row in captions for caption in row])
        self.worker_log = WorkerLog(len(self.row_of))

    def tokenize(self, captions: list[str]) -> TokenTable:
        """Tokenize all captions, truncated to the maximum length of the tokenizer, and warn if any was truncated."""
        cut = self.processor.count_truncated(captions)
        if cut:
            limit = self.processor.tokenizer.model_max_length
            logger.warning(f"{cut} of {len(captions)} captions are longer than {limit} tokens and were truncated.")
        return TokenTable(self.processor.tokenizer(captions, truncation=True)["input_ids"])

    def __len__(self) -> int:
        return len(self.row_of)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """Load one pair, for `PairCollator`.

        Returns:
            {"pixel_values": (H, W, 3) uint8, "input_ids": list of int, "person_ids": int}, and "pair_index": int with
            `with_index`.

        Raises:
            BadImageError: The image cannot be read and may not be skipped. The message names the file.
        """
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[dict[str, Any]]:
        """Load the pairs of a batch. The loader of torch calls this, so that a replacement is not in the batch yet."""
        pairs = [key if isinstance(key, tuple) else (0, int(key)) for key in keys]
        if self.on_bad_sample == "raise":
            return [self.item(epoch, index) for epoch, index in pairs]
        taken = {index for _, index in pairs}
        return [self.item_or_replacement(epoch, index, taken) for epoch, index in pairs]

    def item_or_replacement(self, epoch: int, index: int, taken: set[int]) -> dict[str, Any]:
        """Load a pair or, if its image cannot be read, a replacement, which is added to `taken`."""
        try:
            return self.item(epoch, index)
        except BadImageError as error:
            self.worker_log.count_skipped(index)
            failure = error
        for other in replacements(self.identity_labels, index, taken, (self.seed, epoch)):
            try:
                item = self.item(epoch, other)
            except BadImageError:
                continue
            taken.add(other)
            return item
        raise BadImageError(f"{failure} No other image could be read in its place. Is the folder still there?")

    def item(self, epoch: int, index: int) -> dict[str, Any]:
        """Load a pair, augmented for an epoch."""
        pixels, rng = self.pixels(int(self.row_of[index])), np.random.default_rng([self.seed, epoch, index])
        pixels, input_ids = self.augmented(pixels, self.input_ids[index], epoch, rng)
        item = {"pixel_values": pixels, "input_ids": input_ids, "person_ids": int(self.identity_labels[index])}
        return {**item, "pair_index": index} if self.with_index else item

    def pixels(self, row: int) -> np.ndarray:
        """Load the image of a row in the size of the model, before augmentation: (H, W, 3) uint8."""
        if self.cache is not None and row in self.cache:
            return self.cache[row]
        self.worker_log.begin(row)
        try:
            pixels = self.preparation.read(self.images[row])
        except BadImageError as error:
            raise BadImageError(f"Image {self.images.name(row)} of the training split: {error}") from error
        if self.cache is not None:
            pixels.setflags(write=False)
            self.cache[row] = pixels
        return pixels


class PairCollator:
    """Collate pairs into a batch, padded to its longest caption.

    Args:
        processor: The processor of the model to train.
        as_bytes: Leave pixel_values as uint8, a quarter of the memory, to be normalised on the device with
            `PixelPreparation.normalize`, as `TBPSTrainer` does. False normalises here, for any other training loop.
    """

    def __init__(self, processor: TBPSProcessor, as_bytes: bool = False) -> None:
        self.pad_id = processor.tokenizer.pad_token_id
        self.normalize = None if as_bytes else PixelPreparation(processor.image_processor).normalize

    def __call__(self, pairs: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate pairs.

        Returns:
            pixel_values (B, 3, H, W), input_ids and attention_mask (B, longest), person_ids (B,), and pair_index (B,)
            if the pairs have it.
        """
        ids = [torch.tensor(pair["input_ids"]) for pair in pairs]
        labels = [name for name in ("person_ids", "pair_index") if name in pairs[0]]
        pixels = stack_pixels([pair["pixel_values"] for pair in pairs])
        return {
            "pixel_values": self.normalize(pixels) if self.normalize else pixels,
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_id),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
            **{name: torch.tensor([pair[name] for pair in pairs]) for name in labels},
        }
