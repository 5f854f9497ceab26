"""Random brightness, contrast and saturation: off by default, since sentences name colours."""

import numpy as np
from PIL import Image, ImageEnhance

ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def jitter_colours(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 -> a new one; each of the three is scaled by 1 - strength to 1 + strength, in a random order.

    TBPS-CLIP (Cao et al., AAAI 2024) trains with 0.1 of each. Hue is left alone, as there: it turns red into orange.
    """
    image = Image.fromarray(pixels)
    factors = rng.uniform(1 - strength, 1 + strength, size=len(ENHANCERS))
    for place in rng.permutation(len(ENHANCERS)):
        image = ENHANCERS[place](image).enhance(float(factors[place]))
    return np.asarray(image)
