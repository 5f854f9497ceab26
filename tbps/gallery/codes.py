"""8-bit codes of vectors: a quarter of the bytes to read, and a bound on what they lose.

Each dimension j has its own step s_j = max_i |x_ij| / 127, and x_ij is stored as the whole number c_ij nearest to
x_ij / s_j. A product with a query is then sum_j (q_j s_j) c_ij. The factors q_j s_j become whole numbers too, so that
all products are sums of 8-bit times 8-bit, which processors have instructions for (`torch._int_mm`); a second round of
codes for what the first leaves over makes that error vanish beside the one of c.
"""

from dataclasses import dataclass

import numpy as np
import torch

LIMIT = 127


@dataclass(frozen=True)
class Codes:
    """`numbers` (N, E) int8, `steps` (E,) float32, and `slack`: the largest distance of a vector from its code."""

    numbers: np.ndarray
    steps: np.ndarray
    slack: float


def quantise(vectors: np.ndarray) -> Codes:
    """
    The codes of vectors (N, E) float32, N >= 1.

    Raises:
        ValueError: vectors of a single number, for which `products` gives wrong results (torch 2.13).
    """
    if vectors.shape[1] < 2:
        raise ValueError(f"vectors have the shape {vectors.shape}: expected two numbers or more each.")
    steps = np.abs(vectors).max(axis=0) / np.float32(LIMIT)
    steps[steps == 0] = 1  # a dimension that is 0 everywhere
    numbers = np.rint(vectors / steps).astype(np.int8)
    return Codes(numbers, steps, float(np.linalg.norm(vectors - numbers * steps, axis=1).max()))


def products(
    queries: np.ndarray, codes: torch.Tensor, steps: np.ndarray, rounds: int
) -> tuple[torch.Tensor, np.ndarray]:
    """
    Approximate inner products of queries with coded vectors.

    Args:
        queries: (Q, E) float32. codes: (N, E) int8, where the rows may be cut to their first numbers, then (Q, E) too.
        rounds: 2 for an error of about a ten-thousandth of that of the codes, 1 for half of the work.

    Returns:
        (Q, N) float32, and for each query a bound (Q,) on its distance from the product with the decoded vectors.
    """
    rest = queries * steps  # (Q, E)
    total = torch.zeros(len(queries), len(codes))
    for _ in range(rounds):
        unit = np.abs(rest).max(axis=1, keepdims=True) / LIMIT
        unit[unit == 0] = 1
        whole = np.rint(rest / unit).astype(np.int8)
        rest = rest - whole * unit
        # the operation has no public name; whole numbers, so its sums are exact whatever computes them
        total += torch._int_mm(torch.from_numpy(whole), codes.t()) * torch.from_numpy(unit)
    return total, np.abs(rest).sum(axis=1) * LIMIT
