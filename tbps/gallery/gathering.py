"""Pieces of rows put together to pieces of one size."""

from collections.abc import Iterable, Iterator

import numpy as np

from tbps.gallery.home import Row

Piece = tuple[list[Row], np.ndarray]  # n rows and their vectors (n, E)


def gathered(pieces: Iterable[Piece], size: int) -> Iterator[Piece]:
    """The same rows in pieces of `size`, the last of which may be shorter."""
    rows: list[Row] = []
    vectors: list[np.ndarray] = []
    for more, matrix in pieces:
        rows, vectors = [*rows, *more], [*vectors, matrix]
        while len(rows) >= size:
            joined = np.concatenate(vectors)
            yield rows[:size], joined[:size]
            rows, vectors = rows[size:], [joined[size:]]
    if rows:
        yield rows, np.concatenate(vectors)
