"""Vectors in the type that a gallery keeps them in: none is kept that is not finite, or that the type would lose."""

from collections.abc import Sequence

import numpy as np

from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.int8 import directions
from tbps.gallery.folder.manifest import Dtype
from tbps.gallery.store import Row

_MOST = 1e30  # length of a vector: far from where float32 ends, so that no product by codes does
_HALF_LOSES = 0.1  # share of a vector that float16 may lose: by far more than of any that it was made for


def as_stored(rows: Sequence[Row], vectors: np.ndarray, dtype: Dtype) -> np.ndarray:
    """The vectors (N, E) in the type that they are kept in.

    Raises:
        GalleryError: one is not finite or too long, or float16 would lose it.
    """
    with np.errstate(invalid="ignore"):
        _, length = directions(vectors)
    for place in np.flatnonzero(~(length <= _MOST)).tolist():  # NaN is not either
        raise GalleryError(
            f"The vector of {_name(rows[place])} is {length[place]:.3g} long: expected a finite length of at most "
            f"{_MOST:.0e}. Look for NaN or overflow in the model's embeddings."
        )
    if dtype != "float16":
        return vectors.astype(np.float32, copy=False)
    with np.errstate(over="ignore"):
        half = vectors.astype(np.float16)
    with np.errstate(invalid="ignore"):
        _, lost = directions(vectors - half.astype(np.float32))
    for place in np.flatnonzero(~(lost <= _HALF_LOSES * length)).tolist():
        raise GalleryError(
            f"The vector of {_name(rows[place])} does not fit into float16: its largest number is "
            f"{np.abs(vectors[place]).max():.3g}, and float16 holds from 6e-08 to 65504. Use a gallery of float32 or "
            "int8, or scale the vectors."
        )
    return half


def _name(row: Row) -> str:
    return f"image {row.id}" if row.path is None else f"{row.path} (image {row.id})"
