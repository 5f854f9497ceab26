"""8-bit codes of vectors: a quarter of the bytes to read, and a bound on what they lose.

Each dimension j has its own step s_j = max_i |x_ij| / 127, and x_ij is stored as the whole number c_ij nearest to
x_ij / s_j. A product with a query is then sum_j (q_j s_j) c_ij. The factors q_j s_j become whole numbers too, so that
all products are sums of 8-bit times 8-bit, which processors have instructions for (`torch._int_mm`).
"""

from dataclasses import dataclass

import numpy as np
import torch

LIMIT = 127

Products = tuple[torch.Tensor, np.ndarray]


@dataclass(frozen=True)
class Codes:
    """`numbers` (N, E) int8, `steps` (E,) float32; `slack`: the largest distance of a vector from its code; `reach`:
    the largest length of a row of numbers."""

    numbers: np.ndarray
    steps: np.ndarray
    slack: float
    reach: float


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
    slack = np.linalg.norm(vectors - numbers * steps, axis=1).max()
    return Codes(numbers, steps, float(slack), float(np.linalg.norm(numbers.astype(np.float32), axis=1).max()))


def products(queries: np.ndarray, codes: torch.Tensor, steps: np.ndarray, reach: float) -> Products:
    """
    Approximate inner products of queries with coded vectors.

    Args:
        queries: (Q, E) float32. codes: (N, E) int8; its rows may be cut to their first numbers, then queries and
            steps too. steps, reach: as of `Codes`.

    Returns:
        (Q, N) float32, and for each query a bound (Q,) on its distance from the product with the decoded vectors: by
        Cauchy-Schwarz, or by the largest number that a code can be, whichever is less.
    """
    scaled = queries * steps  # (Q, E)
    unit = np.abs(scaled).max(axis=1, keepdims=True) / LIMIT
    unit[unit == 0] = 1
    whole = np.rint(scaled / unit).astype(np.int8)
    # the operation has no public name; whole numbers, so its sums are exact whatever computes them
    found = torch._int_mm(torch.from_numpy(whole), codes.t()) * torch.from_numpy(unit)
    lost = np.abs(scaled - whole * unit)
    return found, np.minimum(np.linalg.norm(lost, axis=1) * reach, lost.sum(axis=1) * LIMIT)
