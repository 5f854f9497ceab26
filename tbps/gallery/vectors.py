"""Vectors as a store keeps them, and their exact scores."""

from collections.abc import Sequence

import numpy as np

from tbps.gallery.checks import GalleryError
from tbps.gallery.store import Dtype, Row

_MAX_LENGTH = 1e30  # of a vector: far below the limit of float32, so that products by codes do not overflow
_MAX_LOSS = 0.1  # the fraction of a vector that float16 may lose: far more than it does for ordinary embeddings
_BLOCK = 128  # rows: intermediate results stay in the processor's cache


def directions(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Scale vectors (n, E) to unit length; zero vectors stay zero. No square overflows.

    Returns:
        The unit vectors (n, E) in their own type, and the lengths (n,) float64.
    """
    largest = np.abs(vectors).max(axis=1)
    shrunk = vectors / np.where(largest > 0, largest, 1)[:, None]
    length = np.linalg.norm(shrunk, axis=1)  # (n,), 0 or from 1 to the root of E
    shrunk /= np.where(length > 0, length, 1)[:, None]
    return shrunk, largest.astype(np.float64) * length


def as_stored(rows: Sequence[Row], vectors: np.ndarray, dtype: Dtype) -> np.ndarray:
    """
    Convert vectors (N, E) to the type in which they are stored: float16, or float32 for every other dtype.

    Raises:
        GalleryError: a vector is not finite, is too long, or cannot be represented in float16.
    """
    with np.errstate(invalid="ignore"):
        _, length = directions(vectors)
    for place in np.flatnonzero(~(length <= _MAX_LENGTH)).tolist():  # true of NaN, too
        raise GalleryError(
            f"The vector of {_name(rows[place])} has the length {length[place]:.3g}: expected a finite length of at "
            f"most {_MAX_LENGTH:.0e}. Look for NaN or overflow in the model's embeddings."
        )
    if dtype != "float16":
        return vectors.astype(np.float32, copy=False)
    with np.errstate(over="ignore"):
        half = vectors.astype(np.float16)
    with np.errstate(invalid="ignore"):
        _, lost = directions(vectors - half.astype(np.float32))
    for place in np.flatnonzero(~(lost <= _MAX_LOSS * length)).tolist():
        raise GalleryError(
            f"The vector of {_name(rows[place])} does not fit into float16: its largest number is "
            f"{np.abs(vectors[place]).max():.3g}, and float16 holds from 6e-08 to 65504. Use a gallery of float32 or "
            "int8, or scale the vectors."
        )
    return half


def _name(row: Row) -> str:
    return f"image {row.id}" if row.path is None else f"{row.path} (image {row.id})"


def row_scores(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """
    Return the inner products (n,) float64 of vectors (n, E) with a query (E,).

    Each is summed on its own. A matrix product could give equal rows scores that differ in the last bit, and their
    order would no longer be that of insertion. A product of two float32 numbers is exact in float64.
    """
    scores, exact = np.empty(len(vectors), np.float64), query.astype(np.float64)
    for start in range(0, len(vectors), _BLOCK):
        part = slice(start, start + _BLOCK)
        scores[part] = np.einsum("ij,j->i", vectors[part].astype(np.float64), exact)
    return scores


def cosines(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the cosine similarities (n,) float64 of vectors (n, E) with a query (E,); 0 for a zero vector."""
    lengths = np.concatenate([
        np.linalg.norm(vectors[start : start + _BLOCK].astype(np.float64), axis=1)
        for start in range(0, len(vectors), _BLOCK)
    ])  # fmt: skip
    divisor = lengths * np.linalg.norm(query.astype(np.float64))
    return row_scores(vectors, query) / np.where(divisor > 0, divisor, 1)
