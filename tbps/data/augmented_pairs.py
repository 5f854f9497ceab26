"""What pairs of a split and pairs of a stream have in common: how a picture is prepared, and a pair augmented."""

import numpy as np

from tbps.data.augment import Augmentation, augment_pair
from tbps.data.pixels import PixelPreparation
from tbps.processing_tbps import TBPSProcessor


class AugmentedPairs:
    """The settings of `PersonPairs` and `StreamedPairs`, which describe them.

    Raises:
        ValueError: another way of `on_bad_sample`; an image processor or a backend that `PixelPreparation` refuses.
    """

    def __init__(
        self,
        processor: TBPSProcessor,
        augmentation: Augmentation | None,
        word_dropout: float,
        clean_epochs: int,
        seed: int,
        on_bad_sample: str,
        image_backend: str,
    ) -> None:
        if on_bad_sample not in ("raise", "skip"):
            raise ValueError(f"on_bad_sample={on_bad_sample!r}: expected 'raise' or 'skip'.")
        self.processor, self.seed, self.on_bad_sample = processor, seed, on_bad_sample
        self.augmentation, self.word_dropout, self.clean_epochs = augmentation, word_dropout, clean_epochs
        self.preparation = PixelPreparation(processor.image_processor, image_backend)

    def augmented(
        self, pixels: np.ndarray, input_ids: list[int], epoch: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[int]]:
        """A picture (H, W, 3) uint8 and a caption as they are in an epoch: unchanged in the first `clean_epochs`."""
        if epoch < self.clean_epochs:
            return pixels, input_ids
        return augment_pair(pixels, input_ids, rng, self.preparation.blank, self.augmentation, self.word_dropout)
