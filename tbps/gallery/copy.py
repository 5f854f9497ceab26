"""Copy rows and vectors from one store to another: between folders and Milvus, in any direction."""

from collections.abc import Iterable, Iterator

import numpy as np
from tqdm.auto import tqdm

from tbps.gallery.model_identity import check_model
from tbps.gallery.store import Row, VectorStore

Batch = tuple[list[Row], np.ndarray]  # n rows and their vectors (n, E)

_BATCH_SIZE = 4096  # rows in one commit, as `Gallery.add` commits


def rebatch(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Regroup rows into batches of `size`; the last one may be smaller."""
    rows: list[Row] = []
    vectors: list[np.ndarray] = []
    for more, matrix in batches:
        rows, vectors = [*rows, *more], [*vectors, matrix]
        while len(rows) >= size:
            joined = np.concatenate(vectors)
            yield rows[:size], joined[:size]
            rows, vectors = rows[size:], [joined[size:]]
    if rows:
        yield rows, np.concatenate(vectors)


def copy_rows(source: VectorStore, target: VectorStore, progress: bool = True) -> int:
    """
    Copy the rows that the target does not hold, in order of insertion.

    An interrupted copy can be repeated and continues. A new int8 folder gets the codes of another int8 folder
    unchanged.

    Args:
        source: the store to copy from. target: the store to copy to.
        progress: show a progress bar.

    Returns:
        The number of rows copied.

    Raises:
        GalleryError: the stores belong to different models, another process is writing to the target, or a store is
            damaged.
    """
    check_model(source.where, source.model, target.model)
    copied = 0
    with target.writing(), tqdm(total=source.count(), desc="rows", disable=not progress) as bar:
        for rows, vectors in rebatch(source.scan(), _BATCH_SIZE):
            known = target.known([row.id for row in rows])
            new = [place for place, row in enumerate(rows) if row.id not in known]
            if new:
                target.append([rows[place] for place in new], vectors[new], source.steps)
            copied += len(new)
            bar.update(len(rows))
    return copied
