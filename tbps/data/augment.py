"""The field's augmentation of images, and word dropout for captions, as pure functions of a random generator.

Random brightness, contrast and saturation: off by default, since sentences name colours.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance

ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def jitter_colors(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 -> a new one; each of the three is scaled by 1 - strength to 1 + strength, in a random order.

    TBPS-CLIP (Cao et al., AAAI 2024) trains with 0.1 of each. Hue is left alone, as there: it turns red into orange.
    """
    image = Image.fromarray(pixels)
    factors = rng.uniform(1 - strength, 1 + strength, size=len(ENHANCERS))
    for place in rng.permutation(len(ENHANCERS)):
        image = ENHANCERS[place](image).enhance(float(factors[place]))
    return np.asarray(image)


@dataclass(frozen=True)
class Augmentation:
    """Crop after padding, horizontal flip, random erasing (Zhong et al., AAAI 2020), in this order and each drawn
    anew; colours stay as they are unless asked, since sentences name them.

    Args:
        flip: probability of a flip. padding: border added before the crop, as a share of the picture's height (IRRA:
            10 of 384 pixels). erase: probability of erasing; erase_area: smallest and largest share of the picture.
        color_jitter: strength of `jitter_colors`, which then comes first.

    Raises:
        ValueError: a strength of colour jitter outside 0 to 1.
    """

    flip: float = 0.5
    padding: float = 10 / 384
    erase: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.4)
    color_jitter: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.color_jitter <= 1:
            raise ValueError(f"color_jitter={self.color_jitter}: expected 0 (off) to 1; the field takes 0.1.")

    def __call__(self, pixels: np.ndarray, rng: np.random.Generator, blank: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> a new (H, W, 3); the input is left as it is.

        Args:
            blank: (H, W, 3) uint8 picture, of which what comes in or is erased is filled: the mean colour.
        """
        if self.color_jitter:
            pixels = jitter_colors(pixels, self.color_jitter, rng)
        pixels = self.padded_crop(pixels, rng, blank)
        if rng.random() < self.flip:
            pixels = torch.from_numpy(pixels).flip(1).numpy()  # twenty times as fast as NumPy's reversed view
        if rng.random() < self.erase:
            self.erase_from(pixels, rng, blank)
        return pixels

    def padded_crop(self, pixels: np.ndarray, rng: np.random.Generator, blank: np.ndarray) -> np.ndarray:
        """A new picture, shifted by at most the padding in both directions."""
        height, width = pixels.shape[:2]
        border = round(self.padding * height)
        down, right = border - rng.integers(0, 2 * border + 1, size=2)
        shifted = blank.copy()
        into, out_of = zip(overlap(height, down), overlap(width, right), strict=True)
        shifted[into] = pixels[out_of]
        return shifted

    def erase_from(self, pixels: np.ndarray, rng: np.random.Generator, blank: np.ndarray) -> None:
        """Cover one rectangle of a random place, area and aspect ratio (0.3 to 3.3), in place."""
        height, width = pixels.shape[:2]
        area = rng.uniform(*self.erase_area) * height * width
        aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
        rows = min(height, max(1, round((area * aspect) ** 0.5)))
        columns = min(width, max(1, round((area / aspect) ** 0.5)))
        top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
        place = (slice(top, top + rows), slice(left, left + columns))
        pixels[place] = blank[place]


def overlap(size: int, shift: int) -> tuple[slice, slice]:
    """Where a line of so many pixels lies after a shift, and which of them are still in sight."""
    kept = max(0, size - abs(shift))
    into, out_of = max(0, shift), max(0, -shift)
    return slice(into, into + kept), slice(out_of, out_of + kept)


def drop_words(input_ids: list[int], probability: float, rng: np.random.Generator) -> list[int]:
    """A caption's token ids with each left out at the given probability, its first and last (begin, end) kept.

    A sentence that says less still describes the same person, as captions that leave details out do.
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
    """Both sides of a training pair, each left as it is where nothing is asked of it."""
    pixels = augmentation(pixels, rng, blank) if augmentation else pixels
    return pixels, drop_words(input_ids, word_dropout, rng) if word_dropout else input_ids
