"""An approximate index of a gallery in a folder, on request: FAISS's inverted lists of 8-bit codes.

A search reads the lists nearest to the query instead of all rows; the candidates that it gives are then scored by
whole vectors, as always. FAISS's codes have one range for all rows, so rows much longer or shorter than the median are
not in it: they are searched exactly beside it.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.checked_file import CheckedFile
from tbps.gallery.folder.manifest import IndexEntry
from tbps.gallery.folder.shards import Shard

logger = logging.getLogger(__name__)

WORTH_IT = 50_000  # rows: fewer are searched exactly in some milliseconds
_NEARLY_ALL = 0.9  # of the rows that it held: without more of them the lists read hold fewer of the best
_LONGER = 2  # than the median, or shorter, by as many times a row in the index may be


def import_faiss() -> Any:
    """FAISS, which most galleries do without.

    Raises:
        ImportError: it is not installed; the message says how.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError("The index needs FAISS: pip install 'tbps[faiss]'.") from error
    return faiss


def pays(entry: IndexEntry, left: int) -> bool:
    """Whether a search by it is quicker than an exact one, and finds what was measured: half of its lists are enough,
    and of the rows that it is of many, and nearly all that it held, are `left` which were not removed."""
    return 2 * entry.probes <= entry.lists and left >= max(WORTH_IT, _NEARLY_ALL * entry.held)


def has_usual_length(shard: Shard, median: float) -> np.ndarray:
    """Which rows (N,) bool of a shard an index takes whose rows have some median length."""
    length = shard.of_codes("length").numpy()
    return (length <= _LONGER * median) & (_LONGER * length >= median)


class Index:
    """
    An index under a memory map; it is opened and verified when it is first asked.

    It holds nothing that the shards do not hold, so none of its faults is one of the gallery: `serves` says whether it
    can be asked, and `tbps gallery build-index` makes it again.
    """

    def __init__(self, directory: Path, entry: IndexEntry) -> None:
        self.entry = entry
        self._fault: GalleryError | None = None
        self._others: list[np.ndarray | None] | None = None
        try:
            self._file = CheckedFile(directory / entry.file, entry.size, entry.checksums)
        except GalleryError as error:
            self._pass_over(error)

    def _pass_over(self, fault: GalleryError) -> None:
        self._fault = fault
        logger.warning("%s Without it searches are exact; `tbps gallery build-index` makes it again.", fault)

    def serves(self, nprobe: int | None, left: int) -> bool:
        """
        Whether a search should ask it: it can be asked, and pays with the rows that are `left`, unless lists to read
        are given. The first time that it cannot, a warning says why.

        Raises:
            ImportError: FAISS is not installed.
        """
        if nprobe is None and not pays(self.entry, left):
            return False
        try:
            return self._fault is None and self._index is not None
        except GalleryError as error:
            self._pass_over(error)
            return False

    @cached_property
    def _index(self) -> Any:
        """FAISS's, which reads the mapped bytes, those that were verified."""
        faiss = import_faiss()
        self._file.verify()
        data = self._file.bytes
        try:
            index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(data), len(data)), faiss.IO_FLAG_MMAP_IFC)
            _check(index, self.entry)
        except (RuntimeError, MemoryError, ValueError, AttributeError) as error:
            raise GalleryError(f"{self._file.path} is no index of this gallery ({str(error)[-200:]}).") from error
        return index

    def others(self, shards: Sequence[Shard]) -> list[np.ndarray | None]:
        """Of each of the shards in it the rows (N,) bool that are not, or None; they stay the same."""
        if self._others is None:
            rest = np.ones(self.entry.rows, bool)
            rest[_places(self._index)] = False
            parts = np.split(rest, np.cumsum([len(shard) for shard in shards])[:-1])
            self._others = [some if some.any() else None for some in parts]
        return self._others

    def verify(self) -> None:
        """
        Read all of the file, and open it where FAISS is installed.

        Raises:
            GalleryError: it is missing or damaged.
        """
        if self._fault is not None:
            raise self._fault
        self._file.verify()
        with suppress(ImportError):
            _ = self._index

    def candidates(self, queries: np.ndarray, count: int, nprobe: int | None, allowed: np.ndarray) -> list[np.ndarray]:
        """
        For each query (Q, E) the places, in ascending order, of at most `count` rows that are likely to fit best.

        Args:
            nprobe: lists to read; None is as many as were measured to find enough. allowed: (rows,) bool, those that
                may be found.
        """
        faiss = import_faiss()
        nprobe = min(nprobe or self.entry.probes, self.entry.lists)
        only = None if allowed.all() else faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        settings = faiss.SearchParametersIVF(nprobe=nprobe, sel=only)
        _, places = self._index.search(queries, min(count, self.entry.rows), params=settings)
        return [np.sort(row[row >= 0]) for row in places]  # -1: the lists read hold no more


def _check(index: Any, entry: IndexEntry) -> None:
    """Refuse an index that has other rows or lists than the manifest says, before a row of it is asked for.

    FAISS checks lengths and places itself as it reads (1.15).
    """
    faiss = import_faiss()
    if not isinstance(index, faiss.IndexIVFScalarQuantizer) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError(f"it is a {type(index).__name__}")
    if (index.ntotal, index.nlist, index.quantizer.ntotal) != (entry.held, entry.lists, entry.lists):
        raise ValueError(f"it has {index.ntotal} rows in {index.nlist} lists")
    places = _places(index)
    if len(places) != entry.held or len(np.unique(places)) != entry.held:
        raise ValueError(f"its lists hold {len(places)} rows, or one of them twice")
    if places.min() < 0 or places.max() >= entry.rows:
        raise ValueError("its lists hold a row that is none of the gallery's")


def _places(index: Any) -> np.ndarray:
    """The places of the rows in all lists."""
    faiss = import_faiss()
    sizes = [index.invlists.list_size(number) for number in range(index.nlist)]
    return np.concatenate(
        [faiss.rev_swig_ptr(index.invlists.get_ids(number), size) for number, size in enumerate(sizes) if size]
    )
