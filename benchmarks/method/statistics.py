"""Means, deviations and intervals over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t


@dataclass(frozen=True)
class Spread:
    """A mean over seeds, the sample standard deviation, and half the 95 % interval of the mean by Student's t (both NaN
    for one seed)."""

    mean: float
    deviation: float
    half_interval: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Summarise one or more values."""
    count = len(values)
    if count == 1:
        return Spread(values[0], float("nan"), float("nan"), 1)
    deviation = float(np.std(values, ddof=1))
    half = float(t.ppf(0.975, count - 1)) * deviation / count**0.5
    return Spread(float(np.mean(values)), deviation, half, count)


def paired(ours: dict[int, float], theirs: dict[int, float]) -> Spread | None:
    """Summarise the differences on the seeds that both have; None without a common seed."""
    seeds = sorted(set(ours) & set(theirs))
    return spread([ours[seed] - theirs[seed] for seed in seeds]) if seeds else None
