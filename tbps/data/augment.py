"""Image augmentation and word dropout, as pure functions of a random generator."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance

ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def jitter_colors(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Scale brightness, contrast and saturation, in random order, by random factors in [1 - strength, 1 + strength].

    TBPS-CLIP (Cao et al., AAAI 2024) trains with 0.1 of each. Like there, hue is unchanged: it would turn red into
    orange.

    Args:
        pixels: (H, W, 3) uint8; a new array is returned.
    """
    image = Image.fromarray(pixels)
    factors = rng.uniform(1 - strength, 1 + strength, size=len(ENHANCERS))
    for index in rng.permutation(len(ENHANCERS)):
        image = ENHANCERS[index](image).enhance(float(factors[index]))
    return np.asarray(image)


@dataclass(frozen=True)
class Augmentation:
    """Random crop after padding, horizontal flip and random erasing (Zhong et al., AAAI 2020), in this order.

    Colours do not change by default, because captions name them.

    Args:
        flip: Probability of a flip.
        padding: Border added before the crop, as a fraction of the image height (IRRA: 10 of 384 pixels).
        erase: Probability of erasing.
        erase_area: Smallest and largest erased fraction of the image.
        color_jitter: Strength of `jitter_colors`, applied first; 0 turns it off.

    Raises:
        ValueError: `color_jitter` is not in [0, 1].
    """

    flip: float = 0.5
    padding: float = 10 / 384
    erase: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.4)
    color_jitter: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.color_jitter <= 1:
            raise ValueError(f"color_jitter must be from 0 (off) to 1, got {self.color_jitter}. A usual value is 0.1.")

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator, blank: np.ndarray) -> np.ndarray:
        """Augment an image; the input does not change.

        Args:
            pixels: (H, W, 3) uint8.
            blank: (H, W, 3) uint8 of the mean colour, which fills the border and erased areas.

        Returns:
            (H, W, 3) uint8.
        """
        if self.color_jitter:
            pixels = jitter_colors(pixels, self.color_jitter, rng)
        pixels = self.padded_crop(pixels, rng, blank)
        if rng.random() < self.flip:
            pixels = torch.from_numpy(pixels).flip(1).numpy()  # 20 times as fast as copying a reversed NumPy view
        if rng.random() < self.erase:
            self.erase_from(pixels, rng, blank)
        return pixels

    def padded_crop(self, pixels: np.ndarray, rng: np.random.Generator, blank: np.ndarray) -> np.ndarray:
        """Return a copy that is shifted by at most the padding in both directions."""
        height, width = pixels.shape[:2]
        border = round(self.padding * height)
        down, right = border - rng.integers(0, 2 * border + 1, size=2)
        shifted = blank.copy()
        target, source = zip(overlap(height, down), overlap(width, right), strict=True)
        shifted[target] = pixels[source]
        return shifted

    def erase_from(self, pixels: np.ndarray, rng: np.random.Generator, blank: np.ndarray) -> None:
        """Erase a rectangle of random position, area and aspect ratio (0.3 to 3.3) in place."""
        height, width = pixels.shape[:2]
        area = rng.uniform(*self.erase_area) * height * width
        aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
        rows = min(height, max(1, round((area * aspect) ** 0.5)))
        columns = min(width, max(1, round((area / aspect) ** 0.5)))
        top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
        rectangle = (slice(top, top + rows), slice(left, left + columns))
        pixels[rectangle] = blank[rectangle]


def overlap(size: int, shift: int) -> tuple[slice, slice]:
    """Target and source slices that shift a line of `size` pixels by `shift`."""
    length = max(0, size - abs(shift))
    target, source = max(0, shift), max(0, -shift)
    return slice(target, target + length), slice(source, source + length)


def drop_words(input_ids: list[int], probability: float, rng: np.random.Generator) -> list[int]:
    """Drop each token of a caption with the given probability, except the first and last (begin and end).

    A caption with fewer words still describes the same person, since captions leave out details anyway.
    """
    kept = rng.random(len(input_ids)) >= probability
    kept[[0, -1]] = True
    return [token for token, keep in zip(input_ids, kept, strict=True) if keep]


def augment_pair(
    pixels: np.ndarray,
    input_ids: list[int],
    rng: np.random.Generator,
    blank: np.ndarray,
    augmentation: Augmentation | None,
    word_dropout: float,
) -> tuple[np.ndarray, list[int]]:
    """Augment the image and the caption of a training pair; None and 0 turn either off."""
    pixels = augmentation(pixels, rng, blank) if augmentation else pixels
    return pixels, drop_words(input_ids, word_dropout, rng) if word_dropout else input_ids
