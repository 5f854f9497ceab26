"""The methods of `Gallery` that read, change and remove the records of images."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tbps.evaluation.encoding import batches
from tbps.gallery.checks import check_ids, shown
from tbps.gallery.crops import check_box_fits
from tbps.gallery.filters import Filter, check_filter, check_restricts
from tbps.gallery.metadata import changed_row, checked, update_rows
from tbps.gallery.results import Hit, UpdateResult, make_hit
from tbps.gallery.store import StoredHit, VectorStore
from tbps.gallery.stored_image import StoredImage
from tbps.gallery.syncing import SyncResult, apply, compare
from tbps.gallery.values import select_rows, values_of, why_none

_REMOVED_AT_ONCE = 65536  # ids in one commit
_UPDATED_AT_ONCE = 4096


def remove_where(store: VectorStore, where: Filter) -> int:
    """
    Remove all rows that meet a filter from a store that is open for writing, and return their number.

    Raises:
        ValueError: every row meets the filter.
    """
    check_restricts(where)
    found = chain.from_iterable(store.iter_rows(["id"], where))
    ids = [row["id"] for row in found]  # all of them before the first removal, which would change the iteration
    return sum(store.remove(some) for some in batches(ids, _REMOVED_AT_ONCE))


class Records:
    """The records of a gallery's images. None of this needs a model."""

    _store: VectorStore
    _roots: Sequence[Path]

    def count(self, where: Filter | None = None) -> int:
        """
        Count the images.

        Args:
            where: only images that meet this filter.

        Raises:
            TypeError: `where` is not a `Filter`.
        """
        check_filter(where)
        return self._store.count(where)

    def rows(
        self, where: Filter | None = None, columns: Sequence[str] = ("id", "path", "metadata")
    ) -> Iterator[dict[str, Any]]:
        """
        Iterate over the records of images, in order of insertion. This reads no vectors and needs little memory. In a
        folder it covers the images that are there now, whatever is written meanwhile.

        Args:
            where: only images that meet this filter.
            columns: some of `id`, `path`, `metadata`, `camera` and `source` (as text), `timestamp` (seconds since
                1970), `thumbnail` (a JPEG file).

        Raises:
            TypeError, ValueError: `where` is not a `Filter`, or an unknown column.
        """
        check_filter(where)
        return select_rows(self._store.snapshot(), where, columns)

    def values(self, name: str, where: Filter | None = None) -> list[tuple[Any, int]]:
        """
        List the values of a metadata name, each with the number of its images, the most frequent first.

        Args:
            name: the metadata name, such as "camera".
            where: only images that meet this filter.

        Raises:
            TypeError, ValueError: the name is not text, or `where` is not a `Filter`.
        """
        check_filter(where)
        return values_of(self._store.snapshot(), name, where)

    def why_none(self, where: Filter) -> str | None:
        """
        Explain why a filter matches no image: list the values that do exist, such as the cameras, or the first and the
        last timestamp.

        Returns:
            The text; None if some image meets the filter, so that the query is what matches nobody.
        """
        check_filter(where)
        return why_none(self._store.snapshot(), where)

    def get(self, ids: Sequence[str]) -> list[Hit | None]:
        """
        Return the images with some ids, as hits with a score of 0.

        Args:
            ids: the ids of images.

        Returns:
            A hit for each id; None if the gallery does not hold it.

        Raises:
            TypeError: `ids` is a single text.
        """
        check_ids("ids", ids)
        nothing = np.zeros(self._store.model.embedding_dim, np.float32)
        return [None if found is None else self._hit(found, nothing) for found in self._store.get(ids)]

    def known(self, ids: Collection[str]) -> set[str]:
        """
        Return those of some ids that the gallery holds.

        Args:
            ids: the ids of images.

        Raises:
            TypeError: `ids` is a single text.
        """
        check_ids("ids", ids)
        return self._store.known(list(ids))

    def refresh(self) -> None:
        """Read what other processes have written since the gallery was opened."""
        self._store.refresh()

    def update(self, metadata: Mapping[str, Mapping[str, Any]]) -> UpdateResult:
        """
        Change the metadata of images.

        Changed images move to the end of the order of insertion. In a folder, `compact` erases the old values.

        Args:
            metadata: for each id, the metadata to set, as for `add`. A value of None deletes a name, and all other
                names stay. A box is compared with its image if that lies below one of the gallery's roots.

        Returns:
            The ids of images that changed, and the ids that the gallery does not hold.

        Raises:
            GalleryError: another process is writing to this gallery.
            TypeError, ValueError: invalid metadata, or a box that does not match its image; nothing has been changed.
        """
        if not isinstance(metadata, Mapping):
            raise TypeError(f"metadata={shown(metadata)}: expected a dict of ids, each with a dict of names to set.")
        check_ids("metadata", metadata)
        changes = {id: checked(f"metadata[{id!r}]", entry) for id, entry in metadata.items()}
        self._check_boxes({id: entry["box"] for id, entry in changes.items() if entry.get("box") is not None})
        result = UpdateResult()
        with self._store.writing():
            for ids in batches(list(changes), _UPDATED_AT_ONCE):
                updated, unknown = update_rows(self._store, ids, lambda _, row: changed_row(row, None, changes[row.id]))
                result.updated += updated
                result.unknown += unknown
        return result

    def remove(self, ids: Collection[str] | None = None, *, where: Filter | None = None) -> int:
        """
        Remove images, either by id or by a filter.

        In a folder, no search finds them from now on, and `compact` erases their bytes.

        Args:
            ids: the ids of images.
            where: all images that meet this filter; `count(where)` gives their number beforehand. An image without a
                timestamp never matches `until`.

        Returns:
            The number of images removed.

        Raises:
            GalleryError: another process is writing to this gallery.
            TypeError: neither ids nor a filter, or both.
            ValueError: a filter that every image meets.
        """
        if (ids is None) == (where is None):
            raise TypeError("remove takes either ids or where=Filter(...): give one of them.")
        check_filter(where)
        check_ids("ids", ids or ())
        with self._store.writing():
            return self._store.remove(ids or ()) if where is None else remove_where(self._store, where)

    def sync(self, folder: str | Path, *, drop: bool = False, progress: bool = True) -> SyncResult:
        """
        Compare the files below a folder, by their content, with the images that were added from it. Use `add` for new
        files.

        Args:
            folder: the folder, or its `file://` address.
            drop: remove images whose file is gone or was replaced, and update the path of those that were moved within
                the folder. Without it nothing changes.
            progress: show a progress bar.

        Returns:
            The images by what became of their files.

        Raises:
            FileNotFoundError: the folder does not exist.
            GalleryError: another process is writing to this gallery; or images would be dropped, and the folder holds
                no image at all, as when its disk is not mounted.
        """
        result = compare(self._store.snapshot(), folder, progress)
        if drop:
            with self._store.writing():
                apply(self._store, folder, result)
        return result

    def _check_boxes(self, boxes: Mapping[str, Sequence[float]]) -> None:
        """Refuse a box that does not match its image, if the file may be opened and still is that image."""
        for ids in batches(list(boxes) if self._roots else [], _UPDATED_AT_ONCE):
            for row in (found.row for found in self._store.get(ids) if found is not None):
                image, _ = StoredImage(row.id, row.path, None, self._roots).load_image()
                if image is not None:
                    check_box_fits(row.path or row.id, boxes[row.id], image.size)

    def _hit(self, found: StoredHit, query: np.ndarray) -> Hit:
        return make_hit(found, query, self._store.layout, self._roots)
