"""Rows and vectors from one store into another: a folder, Milvus, in any direction.

Pieces of rows put together to pieces of one size.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from tqdm.auto import tqdm

from tbps.gallery.model_identity import check_model
from tbps.gallery.store import Row, VectorStore

Piece = tuple[list[Row], np.ndarray]  # n rows and their vectors (n, E)


def rebatch(pieces: Iterable[Piece], size: int) -> Iterator[Piece]:
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


_COMMITTED = 4096  # rows at a time: as many as `Gallery.add` commits


def copy_rows(source: VectorStore, target: VectorStore, progress: bool = True) -> int:
    """
    Copy what the target does not have, in order of insertion; cut short, it can be repeated and goes on. A new folder
    of int8 vectors gets the codes of another as they are.

    Returns:
        The number of rows copied.

    Raises:
        GalleryError: the two are of different models, another process is writing to the target, or one of the two
            cannot be used.
    """
    check_model(source.where, source.model, target.model)
    copied = 0
    with target.writing(), tqdm(total=source.count(), desc="rows", disable=not progress) as bar:
        for rows, vectors in rebatch(source.scan(), _COMMITTED):
            known = target.known([row.id for row in rows])
            new = [place for place, row in enumerate(rows) if row.id not in known]
            if new:
                target.append([rows[place] for place in new], vectors[new], source.steps)
            copied += len(new)
            bar.update(len(rows))
    return copied
