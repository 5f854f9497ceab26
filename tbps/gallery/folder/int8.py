"""8-bit codes of vectors: a quarter of the bytes to read, and for each row a bound on what its code loses.

A number x_ij is stored as the whole number c_ij nearest to x_ij / (scale_i t_j): each row has its own scale, so that a
long row costs the others nothing, and the rows of a file share the steps t, as some dimensions of an embedding are
much larger than others. A product with a query q is then scale_i sum_j (q_j t_j) c_ij. The factors q_j t_j become
whole numbers too, so that all products are sums of 8-bit times 8-bit, which processors have instructions for
(`torch._int_mm`).
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from tbps.gallery.vectors import directions

LIMIT = 127
ROUNDING = 1e-6  # share of |q| |x| that float32 arithmetic may add to a product by codes: some 2^-24 each, generously
_FEW_ROWS = 256  # of as many rows half is believed of what they show of the dimensions
_LEAST_STEP = 1 / 8  # of the mean one: less gains nothing, and a row of another kind could not be coded
_SAMPLE = 4096  # rows that are enough to learn it from
_AT_ONCE = 256  # rows: what is computed in between stays in the processor's cache
ROW_NUMBERS = ("scale", "length", "slack", "reach")  # those of `Codes` that are one for a row

Products = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Codes:
    """
    Vectors (N, E) as whole numbers.

    Args:
        numbers: (N, E) int8. steps: (E,) float32, those of the dimensions, 1 on average.
        scale: (N,) float32, what a row's numbers are multiplied by.
        length: (N,) float32, of the vectors.
        slack: (N,) float32, no less than the distance of a vector from its code, with what rounding adds to a product.
        reach: (N,) float32, the length of a row of numbers times its scale.
    """

    numbers: np.ndarray
    steps: np.ndarray
    scale: np.ndarray
    length: np.ndarray
    slack: np.ndarray
    reach: np.ndarray

    def vectors(self) -> np.ndarray:
        """The vectors (N, E) float32 that the numbers stand for."""
        return decoded(self.numbers, self.scale, self.steps)

    def instead_of_vectors(self) -> "Codes":
        """The same for codes that are themselves the vectors: nothing is lost but by rounding."""
        _, length = directions(self.vectors())
        return replace(self, length=_above(length), slack=_above(_rounding(length)))


def decoded(numbers: np.ndarray, scale: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The vectors (n, E) float32 that codes (n, E) of some scales (n,) and steps (E,) stand for."""
    return numbers * (scale[:, None] * steps)


def quantise(vectors: np.ndarray, steps: np.ndarray | None = None) -> Codes:
    """
    The codes of finite vectors (N, E) float32, N >= 1, of any lengths.

    Args:
        steps: (E,) of the dimensions; None learns them from these vectors.

    Raises:
        ValueError: vectors of a single number, for which `products` gives wrong results (torch 2.13).
    """
    if vectors.shape[1] < 2:
        raise ValueError(f"vectors have the shape {vectors.shape}: expected two numbers or more each.")
    steps = learn_steps(vectors) if steps is None else steps
    parts = [_quantise(vectors[start : start + _AT_ONCE], steps) for start in range(0, len(vectors), _AT_ONCE)]
    return Codes(np.concatenate([part.numbers for part in parts]), steps,
                 *(np.concatenate([getattr(part, name) for part in parts]) for name in ROW_NUMBERS))  # fmt: skip


def learn_steps(vectors: np.ndarray) -> np.ndarray:
    """
    The steps (E,) float32 of the dimensions of vectors (N, E): what each reaches in vectors of unit length, as a power
    mean of order 8 (near the largest, but steadier), divided by the mean of all. Of few vectors little is learnt: then
    all steps are nearly 1.
    """
    unit, length = directions(vectors[:: -(-len(vectors) // _SAMPLE)])
    count = int(np.count_nonzero(length))
    if not count:
        return np.ones(vectors.shape[1], np.float32)
    powers = np.square(np.square(unit * vectors.shape[1] ** 0.5))  # about 1, far from where float32 ends
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
    """Float32 numbers to their first 17 binary digits: of vectors decoded from codes the same scale is found again,
    whatever float32 made of their last digits."""
    return ((scale.view(np.int32) + (1 << 6)) & ~((1 << 7) - 1)).view(np.float32)


def _rounding(length: np.ndarray) -> np.ndarray:
    """What float32 arithmetic may add to a row's product with a unit vector; of tiny rows it keeps fewer digits."""
    return ROUNDING * length + np.finfo(np.float32).tiny


def _above(numbers: np.ndarray) -> np.ndarray:
    """Float64 numbers as float32, none of which rounding makes smaller; 0 stays."""
    return (numbers * (1 + ROUNDING)).astype(np.float32)


def products(queries: np.ndarray, codes: torch.Tensor, steps: np.ndarray, scale: torch.Tensor, slack: torch.Tensor,
             reach: torch.Tensor) -> Products:  # fmt: skip
    """
    Approximate inner products of queries with coded vectors.

    Args:
        queries: (Q, E), of unit length or 0, or the first numbers of such. codes: (N, E) int8; its rows may be cut to
            their first numbers, then steps too. steps, scale, slack, reach: as of `Codes`.

    Returns:
        (Q, N) float32, and for each a bound (Q, N) on its distance from the product with the vector, by
        Cauchy-Schwarz: slack for what the code loses, and reach for what rounding the query loses.
    """
    scaled = queries.astype(np.float64) * steps  # (Q, E)
    unit = np.abs(scaled).max(axis=1, keepdims=True) / LIMIT
    unit[unit == 0] = 1
    whole = np.rint(scaled / unit)
    lost = np.linalg.norm(scaled - whole * unit, axis=1, keepdims=True) * (1 + ROUNDING)
    # the operation has no public name; whole numbers, so its sums are exact whatever computes them
    sums = torch._int_mm(torch.from_numpy(whole.astype(np.int8)), codes.t())
    found = (sums * torch.from_numpy(unit).float()).mul_(scale)
    return found, torch.addcmul(slack, torch.from_numpy(lost).float(), reach)
