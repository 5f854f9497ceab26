"""What is kept of the images of a gallery: counted, given by id, changed, removed.

Removal of all images that meet a filter, as rules about how long images may be kept need it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tbps.evaluation.encoding import batches
from tbps.gallery.checks import check_ids, shown
from tbps.gallery.crops import check_box_fits
from tbps.gallery.filters import Filter, check_filter
from tbps.gallery.ingest import UpdateResult, update_rows
from tbps.gallery.metadata import changed_row, checked
from tbps.gallery.results import Hit, make_hit
from tbps.gallery.store import StoredHit, VectorStore
from tbps.gallery.stored_image import StoredImage
from tbps.gallery.syncing import SyncResult, apply, compare
from tbps.gallery.values import select_rows, values_of, why_none

_AT_ONCE = 65536  # ids in one commit


def check_asks(where: Filter) -> None:
    """
    Refuse a filter that asks for nothing: a variable that was empty by mistake would empty the gallery.

    Raises:
        ValueError: every image meets it.
    """
    if where.is_empty:
        raise ValueError("The filter asks for nothing, so that every image would be removed: name what is to go.")


def remove_where(store: VectorStore, where: Filter) -> int:
    """
    Take out all rows of a store, open for writing, that meet a filter; their number.

    Raises:
        ValueError: a filter that asks for nothing.
    """
    check_asks(where)
    found = chain.from_iterable(store.iter_rows(["id"], where))
    ids = [row["id"] for row in found]  # before the first removal: what is being walked over does not change
    return sum(store.remove(some) for some in batches(ids, _AT_ONCE))


_UPDATED_AT_ONCE = 4096


class Listing:
    """The methods of a gallery that need neither model nor processor, on images one by one."""

    _store: VectorStore
    _roots: Sequence[Path]

    def count(self, where: Filter | None = None) -> int:
        """The number of images, or of those that meet a filter.

        Raises:
            TypeError: what is no filter.
        """
        check_filter(where)
        return self._store.count(where)

    def rows(
        self, where: Filter | None = None, columns: Sequence[str] = ("id", "path", "metadata")
    ) -> Iterator[dict[str, Any]]:
        """
        What is kept of images, one after the other in order of insertion; no vector is read, and little is held in
        memory. In a folder those that are there now, whatever is written in the meantime.

        Args:
            where: only images that meet this filter. columns: of `id`, `path`, `metadata`, `camera` and `source` (as
                text), `timestamp` (seconds since 1970), `thumbnail` (a JPEG file).

        Raises:
            TypeError, ValueError: what is no filter, or no column.
        """
        check_filter(where)
        return select_rows(self._store.snapshot(), where, columns)

    def values(self, name: str, where: Filter | None = None) -> list[tuple[Any, int]]:
        """
        The values that images have of a metadata name, the most frequent first, each with the number of its images.

        Args:
            where: only of images that meet this filter.
        """
        check_filter(where)
        return values_of(self._store.snapshot(), name, where)

    def refresh(self) -> None:
        """Take up what other processes have written since the gallery was opened."""
        self._store.refresh()

    def get(self, ids: Sequence[str]) -> list[Hit | None]:
        """What is kept of images, by their ids: hits with a score of 0; None for an id that is not there.

        Raises:
            TypeError: one id alone, as a text.
        """
        check_ids("ids", ids)
        nothing = np.zeros(self._store.model.embedding_dim, np.float32)
        return [None if found is None else self._hit(found, nothing) for found in self._store.get(ids)]

    def update(self, metadata: Mapping[str, Mapping[str, Any]]) -> UpdateResult:
        """
        Change the metadata of images that are there.

        They count as added last from then on. In a folder what they had before is erased by `compact`.

        Args:
            metadata: for each id the names to set, as for `add`; a value of None takes a name out, others stay. A box
                is compared with its image where that lies below one of the gallery's roots.

        Returns:
            The ids of those that are different now, and the ids that are not there, which are left out.

        Raises:
            GalleryError: another process is writing to this gallery.
            TypeError, ValueError: metadata that cannot be kept, a box that is none of its image; nothing has been
                changed.
        """
        if not isinstance(metadata, Mapping):
            raise TypeError(f"metadata={shown(metadata)}: expected a dict of ids, each with a dict of names to set.")
        check_ids("metadata", metadata)
        changes = {id: checked(f"metadata[{id!r}]", entry) for id, entry in metadata.items()}
        self._check_boxes({id: entry["box"] for id, entry in changes.items() if entry.get("box") is not None})
        result = UpdateResult()
        with self._store.writing():
            for ids in batches(list(changes), _UPDATED_AT_ONCE):
                found = update_rows(self._store, ids, lambda _, row: changed_row(row, None, changes[row.id]))
                result.updated += found.updated
                result.unknown += found.unknown
        return result

    def why_none(self, where: Filter) -> str | None:
        """
        Where no image meets a filter: a text that says so, and which values there are of what it asks for, as the
        cameras, or the first and the last timestamp. None where an image meets it: then nobody fits the query.
        """
        check_filter(where)
        return why_none(self._store.snapshot(), where)

    def remove(self, ids: Collection[str] | None = None, *, where: Filter | None = None) -> int:
        """
        Take images out of the gallery: those with some ids, or all that meet a filter; the number of those that were
        there. `count(where)` says beforehand how many meet it; an image without a timestamp meets no `until`.

        In a folder no search finds them from now on, and their bytes are erased by `compact`.

        Raises:
            GalleryError: another process is writing to this gallery.
            TypeError: neither ids nor a filter, or both. ValueError: a filter that asks for nothing.
        """
        if (ids is None) == (where is None):
            raise TypeError("remove takes either ids or where=Filter(...): give one of them.")
        check_filter(where)
        check_ids("ids", ids or ())
        with self._store.writing():
            return self._store.remove(ids or ()) if where is None else remove_where(self._store, where)

    def sync(self, folder: str | Path, *, drop: bool = False, progress: bool = True) -> SyncResult:
        """
        Compare the images below a folder, by their content, with what was added of them. New ones are `add`'s business.

        Args:
            drop: take out images whose file is gone or replaced, and give those that are elsewhere below the folder
                their present path; without it nothing is changed.

        Raises:
            FileNotFoundError: there is no such folder.
            GalleryError: another process is writing to this gallery; or images are to be dropped, and the folder holds
                none at all, as where its disk is not mounted.
        """
        result = compare(self._store.snapshot(), folder, progress)
        if drop:
            with self._store.writing():
                apply(self._store, folder, result)
        return result

    def _check_boxes(self, boxes: Mapping[str, Sequence[float]]) -> None:
        """Refuse a box that is none of its image, where the file may be opened and is still that image."""
        for ids in batches(list(boxes) if self._roots else [], _UPDATED_AT_ONCE):
            for row in (found.row for found in self._store.get(ids) if found is not None):
                picture, _ = StoredImage(row.id, row.path, None, self._roots).load_image()
                if picture is not None:
                    check_box_fits(row.path or row.id, boxes[row.id], picture.size)

    def _hit(self, found: StoredHit, query: np.ndarray) -> Hit:
        return make_hit(found, query, self._store.layout, self._roots)
