"""Independent random streams with keys, so that any person or image can be drawn alone and in any order."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """One number per purpose: drawing differently for one purpose leaves the others unchanged."""

    ATTRIBUTES = 1
    CAMERA_ORDER = 2
    CAMERA = 3
    CAPTION = 4
    SCENE = 5
    NOISE = 6


def stream(seed: int, which: Stream, *key: int) -> np.random.Generator:
    """Create the generator of one purpose for `key` (a person, or a person and an image); all numbers are >= 0."""
    return np.random.default_rng([seed, int(which), *key])


def pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """Choose a key of `weights` with probability proportional to its weight."""
    threshold = rng.random() * sum(weights.values())
    for name, weight in weights.items():
        threshold -= weight
        if threshold < 0:
            return name
    return name  # rounding can leave a tiny remainder: take the last one


def choose(rng: np.random.Generator, *options: str) -> str:
    """Choose one of `options`, all equally likely."""
    return options[int(rng.integers(len(options)))]
