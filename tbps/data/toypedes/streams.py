"""Independent random streams, keyed so that any person or image can be drawn alone and in any order."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """One number per thing that is drawn: a change in one of them leaves the others as they were."""

    ATTRIBUTES = 1
    CAMERA_ORDER = 2
    CAMERA = 3
    CAPTION = 4
    SCENE = 5
    NOISE = 6


def stream(seed: int, which: Stream, *key: int) -> np.random.Generator:
    """The generator of `which` for `key` (a person, or a person and an image). `seed` and the key are non-negative."""
    return np.random.default_rng([seed, int(which), *key])


def pick(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """One key of `weights`, with probability proportional to its weight."""
    threshold = rng.random() * sum(weights.values())
    for name, weight in weights.items():
        threshold -= weight
        if threshold < 0:
            return name
    return name  # rounding left a hair's breadth over: the last one


def choose(rng: np.random.Generator, *options: str) -> str:
    """One of `options`, all equally likely."""
    return options[int(rng.integers(len(options)))]
