"""The methods of `Gallery` that maintain it: info, compact, index, check, copy."""

import warnings
from dataclasses import replace
from pathlib import Path

from tbps.gallery.checks import GalleryError, check_finite, check_positive, refuse_renamed
from tbps.gallery.copy import copy_rows
from tbps.gallery.open_store import check_dtype, check_stored_dtype, open_existing, open_store
from tbps.gallery.results import GalleryInfo
from tbps.gallery.store import ROWS_PER_FILE, TARGET_RECALL, Dtype, FileStore, VectorStore


class Maintenance:
    """Maintenance of a gallery. None of it needs a model."""

    _store: VectorStore

    def info(self) -> GalleryInfo:
        """Return facts about the gallery: its model, its layout, its size and its index."""
        store = self._store
        return GalleryInfo(
            images=store.count(),
            model=store.model.name,
            revision=store.model.revision,
            fingerprint=store.model.fingerprint,
            layout=store.layout,
            files=store.info() if isinstance(store, FileStore) else None,
        )

    def compact(self, rows_per_file: int = ROWS_PER_FILE, progress: bool = True) -> None:
        """
        Erase the bytes of removed images, and join many small files into few. This drops the index.

        Files that a repair set aside stay, and a warning names them.

        Args:
            rows_per_file: the number of images in each new file.
            progress: show a progress bar.

        Raises:
            GalleryError: another process is writing to this gallery, the disk is too full, or the gallery is in Milvus.
        """
        check_positive("rows_per_file", rows_per_file)
        store = self._files("compact")
        with store.writing():
            store.compact(rows_per_file, progress)
        if left := store.set_aside():
            warnings.warn(left, stacklevel=2)

    @refuse_renamed(lists="nlist")
    def build_index(
        self, nlist: int | None = None, progress: bool = True, *, target_recall: float = TARGET_RECALL
    ) -> None:
        """
        Build the approximate index of `mode="index"` from all images, and replace an older one.

        Altered vectors of the gallery's own images serve as queries, to measure how many lists a search must read. If
        even all lists miss the target, a warning gives the recall that they reach.

        Args:
            nlist: the number of lists to sort the images into; a search reads some of them; None is one for every
                thousand images.
            progress: show a progress bar.
            target_recall: the recall@10 to reach, above 0 and up to 1.

        Raises:
            GalleryError: the gallery is empty or in Milvus, or another process is writing to it.
            ValueError: more lists than images, or a recall out of range.
            TypeError: an argument of another type.
            ImportError: FAISS is not installed.
        """
        if nlist is not None:
            check_positive("nlist", nlist)
        check_finite("target_recall", target_recall)
        store = self._files("build_index")
        with store.writing():
            store.build_index(nlist, target_recall, progress)
        index = store.info().index
        if index is not None and index.recall < target_recall:
            warnings.warn(
                f"Even with all lists the index reaches a recall of {index.recall:.3f}, below target_recall="
                f"{target_recall}: the best images are too similar for its 8-bit codes. mode='index' searches exactly.",
                stacklevel=3,  # the decorator is a frame
            )

    def check(self, progress: bool = True) -> None:
        """
        Read every file and compare its checksums.

        Args:
            progress: show a progress bar.

        Raises:
            GalleryError: a file is damaged; the message names it. Or the gallery is in Milvus.
        """
        self._files("check").check(progress)

    def _files(self, what: str) -> FileStore:
        if not isinstance(self._store, FileStore):
            raise GalleryError(f"{what} is for galleries in a folder, and {self._store.where} is in Milvus, which does "
                               "this by itself.")  # fmt: skip
        return self._store

    def export(
        self, where: str | Path, *, dtype: Dtype | None = None, token: str | None = None, progress: bool = True
    ) -> int:
        """
        Copy all images into the gallery at another address, which is created if it does not exist.

        Images that it holds already are skipped, so an interrupted export can be repeated. Nothing is encoded.

        Args:
            where: the address of the other gallery, as for `open`. token: its token.
            dtype: how a new gallery stores vectors; None is the dtype of this one.
            progress: show a progress bar.

        Returns:
            The number of images copied.

        Raises:
            GalleryError: the other gallery belongs to another model or has another dtype than the one given, or another
                process is writing to it.
            ValueError: an unknown dtype.
        """
        check_dtype(dtype)
        layout = self._store.layout
        target = open_store(where, self._store.model, replace(layout, dtype=dtype or layout.dtype), token)
        check_stored_dtype(target, dtype)
        return copy_rows(self._store, target, progress)

    def import_(self, where: str | Path, *, token: str | None = None, progress: bool = True) -> int:
        """
        Copy the images that this gallery does not hold from the gallery at another address.

        Args:
            where: the address of the other gallery, as for `open`. token: its token.
            progress: show a progress bar.

        Returns:
            The number of images copied.

        Raises:
            GalleryError: the other gallery does not exist or belongs to another model, or another process is writing to
                this one.
        """
        return copy_rows(open_existing(where, token), self._store, progress)
