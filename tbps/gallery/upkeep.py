"""The upkeep of a gallery as a whole: erase, index, check, copy."""

import warnings
from dataclasses import replace
from pathlib import Path

from tbps.gallery.checks import GalleryError, check_finite, check_positive
from tbps.gallery.copy import copy_rows
from tbps.gallery.folder.build_index import TARGET_RECALL
from tbps.gallery.folder.leftovers import not_erased
from tbps.gallery.folder.manifest import Dtype
from tbps.gallery.folder.merging import ROWS_PER_FILE
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.open_store import check_dtype, check_keeps, open_existing, open_store
from tbps.gallery.store import VectorStore


class Upkeep:
    """The methods of a gallery that need neither model nor processor, on all of it."""

    _store: VectorStore

    def compact(self, rows_per_file: int = ROWS_PER_FILE, progress: bool = True) -> None:
        """
        Erase what was removed, and join many small files into few; an index is dropped. Files that a repair set aside
        stay, and a warning names them.

        Raises:
            GalleryError: another process is writing to this gallery, or it is in Milvus, which does this by itself.
        """
        check_positive("rows_per_file", rows_per_file)
        folder = self._folder("compact")
        with folder.writing():
            folder.compact(rows_per_file, progress)
        if left := not_erased(Path(folder.where)):
            warnings.warn(left, stacklevel=2)

    def build_index(
        self, nlist: int | None = None, progress: bool = True, *, target_recall: float = TARGET_RECALL
    ) -> None:
        """
        Make the approximate index of `mode="index"` from all images that are there, in the place of an older one.

        Queries made of the gallery's own vectors are asked, to learn how many lists a search must read; where no
        number of lists finds enough, a warning says what they found.

        Args:
            nlist: parts that images are sorted into, of which a search reads some; None is one for a thousand images.
            target_recall: the share of the ten best images that a search should find.

        Raises:
            GalleryError: the gallery is empty, is being written to by another process, or is in Milvus.
            ValueError: more lists than images, or a share out of range. TypeError: an argument of another type.
            ImportError: FAISS is not installed.
        """
        if nlist is not None:
            check_positive("nlist", nlist)
        check_finite("target_recall", target_recall)
        folder = self._folder("build_index")
        with folder.writing():
            folder.build_index(nlist, target_recall, progress)
        made = folder.manifest.index
        if made is not None and made.recall < target_recall:
            warnings.warn(
                f"With all lists the index finds {made.recall:.3f} of the ten best images, and target_recall="
                f"{target_recall} was asked for: the best are too much alike for its 8-bit codes. mode='index' "
                "searches exactly.",
                stacklevel=2,
            )

    def check(self, progress: bool = True) -> None:
        """
        Read every byte.

        Raises:
            GalleryError: a file is damaged; the message names it. Or the gallery is in Milvus.
        """
        self._folder("check").check(progress)

    def _folder(self, what: str) -> FolderStore:
        if not isinstance(self._store, FolderStore):
            raise GalleryError(f"{what} is for galleries in a folder: {self._store.where} is Milvus's own business.")
        return self._store

    def export(
        self, where: str | Path, *, dtype: Dtype | None = None, token: str | None = None, progress: bool = True
    ) -> int:
        """
        Copy all images' rows and vectors into the gallery at another address, made if it is new; the number copied.

        Those that are there already are skipped, so an export cut short can be repeated. Nothing is encoded.

        Args:
            where, token: of the other gallery, as for `open`. dtype: of a new one; None is that of this gallery.

        Raises:
            GalleryError: the other one is another model's, keeps another dtype than the one given, or is being written
                to. ValueError: an unknown dtype.
        """
        check_dtype(dtype)
        target = open_store(
            where, self._store.model, replace(self._store.layout, dtype=dtype or self._store.layout.dtype), token
        )
        check_keeps(target, dtype)
        return copy_rows(self._store, target, progress)

    def import_(self, where: str | Path, *, token: str | None = None, progress: bool = True) -> int:
        """
        Copy what this gallery does not have from the one at another address; the number copied.

        Raises:
            GalleryError: there is none, it is another model's, or this one is being written to.
        """
        return copy_rows(open_existing(where, token), self._store, progress)
