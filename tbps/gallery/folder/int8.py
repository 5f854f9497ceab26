"""8-bit codes of vectors: a quarter of the bytes to read, and for each row a bound on the error of its code.

A number x_ij is stored as the integer c_ij nearest to x_ij / (scale_i t_j). Each row has its own scale, so a long
vector does not make the codes of others coarser. The rows of a file share the steps t, because some dimensions of an
embedding are much larger than others. The product with a query q is then scale_i sum_j (q_j t_j) c_ij. The factors
q_j t_j are rounded to integers too, so that every product is a sum of 8-bit products, for which processors have
instructions (`torch._int_mm`).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from tbps.gallery.vectors import directions

LIMIT = 127
ROUNDING = 1e-6  # the fraction of |q| |x| that float32 rounding may add to a product: a few times 2^-24, generously
_FEW_ROWS = 256  # with this many rows, the learnt steps get half of the weight
_LEAST_STEP = 1 / 8  # of the mean step: a smaller one gains nothing, and would not suit different vectors
_SAMPLE = 4096  # rows that the steps are learnt from
_AT_ONCE = 256  # rows: intermediate results stay in the processor's cache
ROW_NUMBERS = ("scale", "length", "slack", "reach")  # the fields of `Codes` with one number per row

Products = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Codes:
    """
    The codes of vectors (N, E).

    Args:
        numbers: (N, E) int8.
        steps: (E,) float32, the quantisation steps of the dimensions, 1 on average.
        scale: (N,) float32, the factor of each row.
        length: (N,) float32, the length of each vector.
        slack: (N,) float32, at least the distance between a vector and its code, plus the rounding error of a product.
        reach: (N,) float32, the length of each row of numbers times its scale.
    """

    numbers: np.ndarray
    steps: np.ndarray
    scale: np.ndarray
    length: np.ndarray
    slack: np.ndarray
    reach: np.ndarray

    def vectors(self) -> np.ndarray:
        """Decode the vectors (N, E) float32."""
        return decoded(self.numbers, self.scale, self.steps)

    def instead_of_vectors(self) -> "Codes":
        """Return the codes with the bounds of their decoded vectors, whose only error is rounding."""
        _, length = directions(self.vectors())
        return replace(self, length=_above(length), slack=_above(_rounding(length)))


def decoded(numbers: np.ndarray, scale: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Decode vectors (n, E) float32 from codes (n, E), scales (n,) and steps (E,)."""
    return numbers * (scale[:, None] * steps)


def quantise(vectors: np.ndarray, steps: np.ndarray | None = None) -> Codes:
    """
    Encode vectors.

    Args:
        vectors: (N, E) float32, finite, of any lengths; N >= 1.
        steps: (E,), the quantisation steps; None learns them from these vectors.

    Raises:
        ValueError: E is 1, for which `products` would be wrong (torch 2.13).
    """
    if vectors.shape[1] < 2:
        raise ValueError(f"vectors must have at least two numbers each, got the shape {vectors.shape}.")
    steps = learn_steps(vectors) if steps is None else steps
    parts = [_quantise(vectors[start : start + _AT_ONCE], steps) for start in range(0, len(vectors), _AT_ONCE)]
    return Codes(np.concatenate([part.numbers for part in parts]), steps,
                 *(np.concatenate([getattr(part, name) for part in parts]) for name in ROW_NUMBERS))  # fmt: skip


def learn_steps(vectors: np.ndarray) -> np.ndarray:
    """
    Learn the quantisation steps (E,) float32 from vectors (N, E).

    The step of a dimension is the power mean of order 8 of its absolute values in unit vectors (close to the maximum,
    but more stable), divided by the mean over all dimensions. With few vectors, all steps are close to 1.
    """
    unit, length = directions(vectors[:: -(-len(vectors) // _SAMPLE)])
    count = int(np.count_nonzero(length))
    if not count:
        return np.ones(vectors.shape[1], np.float32)
    powers = np.square(np.square(unit * vectors.shape[1] ** 0.5))  # about 1, far from the limits of float32
    large = (np.einsum("ij,ij->j", powers, powers) / count) ** (1 / 8)
    steps = 1 + count / (count + _FEW_ROWS) * (large / large.mean() - 1)
    return np.maximum(steps, _LEAST_STEP).astype(np.float32)


def _quantise(vectors: np.ndarray, steps: np.ndarray) -> Codes:
    unit, length = directions(vectors)
    ratios = unit / steps
    largest = np.abs(ratios).max(axis=1)  # (n,)
    ratios *= (LIMIT / np.where(largest > 0, largest, 1))[:, None]
    numbers = np.rint(ratios, out=ratios).astype(np.int8)
    scale = _rounded((length * largest / LIMIT).astype(np.float32))
    _, lost = directions(vectors - decoded(numbers, scale, steps))
    reach = np.linalg.norm(ratios, axis=1) * scale.astype(np.float64)
    return Codes(numbers, steps, scale, _above(length), _above(lost + _rounding(length)), _above(reach))


def _rounded(scale: np.ndarray) -> np.ndarray:
    """Round float32 numbers to 17 bits, so that encoding decoded vectors finds the same scale again, whatever their
    last bits are."""
    return ((scale.view(np.int32) + (1 << 6)) & ~((1 << 7) - 1)).view(np.float32)


def _rounding(length: np.ndarray) -> np.ndarray:
    """Bound the rounding error of a row's product with a unit vector. Tiny numbers have fewer digits in float32."""
    return ROUNDING * length + np.finfo(np.float32).tiny


def _above(numbers: np.ndarray) -> np.ndarray:
    """Convert float64 numbers to float32 without making any of them smaller; 0 stays 0."""
    return (numbers * (1 + ROUNDING)).astype(np.float32)


def products(queries: np.ndarray, codes: torch.Tensor, steps: np.ndarray, scale: torch.Tensor, slack: torch.Tensor,
             reach: torch.Tensor) -> Products:  # fmt: skip
    """
    Compute approximate inner products of queries and encoded vectors.

    Args:
        queries: (Q, E), unit or zero vectors, or the first numbers of such vectors.
        codes: (N, E) int8, or the first numbers of the codes; then the steps are cut too.
        steps, scale, slack, reach: fields of `Codes`.

    Returns:
        The products (Q, N) float32, and bounds (Q, N) on their errors by the Cauchy-Schwarz inequality: `slack` for the
        error of the code, and `reach` times the rounding error of the query.
    """
    scaled = queries.astype(np.float64) * steps  # (Q, E)
    unit = np.abs(scaled).max(axis=1, keepdims=True) / LIMIT
    unit[unit == 0] = 1
    whole = np.rint(scaled / unit)
    lost = np.linalg.norm(scaled - whole * unit, axis=1, keepdims=True) * (1 + ROUNDING)
    # a private operation of torch; sums of integers are exact on every backend
    sums = torch._int_mm(torch.from_numpy(whole.astype(np.int8)), codes.t())
    found = (sums * torch.from_numpy(unit).float()).mul_(scale)
    return found, torch.addcmul(slack, torch.from_numpy(lost).float(), reach)
