"""The field's augmentation of images, and word dropout for captions, as pure functions of a random generator."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Augmentation:
    """Horizontal flip, crop after padding, random erasing (Zhong et al., AAAI 2020), in this order and each drawn
    anew; colours stay as they are, since sentences name them.

    Args:
        flip: probability of a flip. padding: border added before the crop, as a share of the picture's height (IRRA:
            10 of 384 pixels). erase: probability of erasing; erase_area: smallest and largest share of the picture.
    """

    flip: float = 0.5
    padding: float = 10 / 384
    erase: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.4)

    def __call__(self, pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """(3, H, W) normalised picture -> a new (3, H, W); the input is left as it is."""
        if rng.random() < self.flip:
            pixels = pixels.flip(-1)
        pixels = self.padded_crop(pixels, rng)
        if rng.random() < self.erase:
            pixels = self.erased(pixels, rng)
        return pixels

    def padded_crop(self, pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Shift by at most the padding in both directions; 0, the mean colour, fills what comes in."""
        height, width = pixels.shape[-2:]
        border = round(self.padding * height)
        top, left = rng.integers(0, 2 * border + 1, size=2)
        return F.pad(pixels, [border] * 4)[:, top : top + height, left : left + width]

    def erased(self, pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Cover one rectangle of a random place, area and aspect ratio (0.3 to 3.3) with the mean colour."""
        height, width = pixels.shape[-2:]
        area = rng.uniform(*self.erase_area) * height * width
        aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
        rows = min(height, max(1, round((area * aspect) ** 0.5)))
        columns = min(width, max(1, round((area / aspect) ** 0.5)))
        top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
        pixels = pixels.clone()
        pixels[:, top : top + rows, left : left + columns] = 0
        return pixels


def drop_words(input_ids: list[int], probability: float, rng: np.random.Generator) -> list[int]:
    """A caption's token ids with each left out at the given probability, its first and last (begin, end) kept.

    A sentence that says less still describes the same person, as captions that leave details out do.
    """
    kept = rng.random(len(input_ids)) >= probability
    kept[[0, -1]] = True
    return [token for token, keep in zip(input_ids, kept, strict=True) if keep]
