"""Training pairs: one (image, caption) an item, tokenised once, augmented from (seed, epoch, index)."""

from collections.abc import Sequence
from typing import Any

import datasets
import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers.utils import logging

from tbps.data.augment import Augmentation, drop_words
from tbps.data.images import image_source, open_image
from tbps.processing_tbps import TBPSProcessor

logger = logging.get_logger(__name__)


class PersonPairs(torch.utils.data.Dataset[dict[str, Any]]):
    """Every (image, caption) pair of a benchmark split, for `TBPSTrainer` and plain `transformers.Trainer` alike.

    An item is asked for by its index, or by (epoch, index) as `IdentitySampler` does: its augmentation is drawn from
    (seed, epoch, index), so that it does not depend on the order of loading, the number of workers or a resume.

    Args:
        rows: split of `load_benchmark`: columns image, captions, person_id. processor: of the model to train.
        augmentation: None leaves pictures as they are. word_dropout: probability of leaving out a caption's token.
        clean_epochs: first epochs without either, counted from 0.
        cache_images: keep every prepared picture in memory (3*H*W*4 bytes each): for small data sets, with
            `dataloader_num_workers=0`.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        processor: TBPSProcessor,
        augmentation: Augmentation | None = None,
        word_dropout: float = 0.0,
        clean_epochs: int = 0,
        seed: int = 0,
        cache_images: bool = False,
    ) -> None:
        self.processor, self.seed = processor, seed
        self.augmentation, self.word_dropout, self.clean_epochs = augmentation, word_dropout, clean_epochs
        self.images = rows.cast_column("image", datasets.Image(decode=False))["image"]
        self.cache: dict[int, torch.Tensor] | None = {} if cache_images else None
        captions = rows["captions"][:]
        self.row_of = np.repeat(np.arange(len(rows)), [len(row) for row in captions])  # (pairs,)
        people, labels = np.unique(np.asarray(rows["person_id"][:]), return_inverse=True)
        self.num_identities = len(people)
        self.person_ids = labels[self.row_of]  # (pairs,) in 0..num_identities-1
        self.input_ids = self.tokenize([caption for row in captions for caption in row])

    def tokenize(self, captions: list[str]) -> list[list[int]]:
        """Token ids of all captions, cut at the tokenizer's length; how many were cut is said once."""
        cut = self.processor.count_truncated(captions)
        if cut:
            limit = self.processor.tokenizer.model_max_length
            logger.warning(f"{cut} of {len(captions)} captions are longer than {limit} tokens and were cut.")
        return self.processor.tokenizer(captions, truncation=True)["input_ids"]

    def __len__(self) -> int:
        return len(self.row_of)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        """{"pixel_values": (3, H, W), "input_ids": list of int, "person_ids": int}.

        Raises:
            BadImageError: a file that is no readable picture; the message names it.
        """
        epoch, index = key if isinstance(key, tuple) else (0, int(key))
        pixels, input_ids = self.pixels(int(self.row_of[index])), self.input_ids[index]
        if epoch >= self.clean_epochs:
            rng = np.random.default_rng([self.seed, epoch, index])
            pixels = self.augmentation(pixels, rng) if self.augmentation else pixels
            input_ids = drop_words(input_ids, self.word_dropout, rng) if self.word_dropout else input_ids
        return {
            "pixel_values": pixels,
            "input_ids": input_ids,
            "person_ids": int(self.person_ids[index]),
        }

    def pixels(self, row: int) -> torch.Tensor:
        """The prepared picture (3, H, W) of a row, before augmentation."""
        if self.cache is not None and row in self.cache:
            return self.cache[row]
        image = open_image(image_source(self.images[row]))
        pixels = self.processor.image_processor(image, return_tensors="pt")["pixel_values"][0]
        if self.cache is not None:
            self.cache[row] = pixels
        return pixels


class PairCollator:
    """Joins pairs to a batch: pixel_values (B, 3, H, W), input_ids and attention_mask (B, longest), person_ids (B,)."""

    def __init__(self, processor: TBPSProcessor) -> None:
        self.pad_id = processor.tokenizer.pad_token_id

    def __call__(self, pairs: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch; it is as long as its longest caption."""
        ids = [torch.tensor(pair["input_ids"]) for pair in pairs]
        return {
            "pixel_values": torch.stack([pair["pixel_values"] for pair in pairs]),
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.pad_id),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
            "person_ids": torch.tensor([pair["person_ids"] for pair in pairs]),
        }
