"""Rows and vectors from one home into another: a folder, Milvus, in any direction."""

from tqdm.auto import tqdm

from tbps.gallery.gathering import gathered
from tbps.gallery.home import Home
from tbps.gallery.identity import check_model

_COMMITTED = 4096  # rows at a time: as many as `Gallery.add` commits


def copy_rows(source: Home, target: Home, progress: bool = True) -> int:
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
        for rows, vectors in gathered(source.scan(), _COMMITTED):
            known = target.known([row.id for row in rows])
            new = [place for place, row in enumerate(rows) if row.id not in known]
            if new:
                target.append([rows[place] for place in new], vectors[new], source.steps)
            copied += len(new)
            bar.update(len(rows))
    return copied
