"""An optional approximate index of a gallery in a folder: FAISS's inverted lists of 8-bit codes.

A search reads the lists nearest to the query instead of all rows, and scores the candidates by their full vectors.
FAISS's codes have one range for all rows, so vectors much longer or shorter than the median are not in the index. Their
rows are searched exactly.
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
from tbps.gallery.folder.manifest_entries import IndexEntry
from tbps.gallery.folder.shards import Shard

logger = logging.getLogger(__name__)

MIN_ROWS = 50_000  # fewer rows are searched exactly within milliseconds
_MIN_LIVE = 0.9  # the fraction of indexed rows that must not have been removed, for the measured recall to hold
_MAX_RATIO = 2  # between the length of a vector in the index and the median length


def import_faiss() -> Any:
    """Import FAISS, which most galleries do not need.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError("The index needs FAISS: pip install 'tbps[faiss]'.") from error
    return faiss


def is_worthwhile(entry: IndexEntry, live: int) -> bool:
    """
    Whether an index makes a search faster and reaches the measured recall.

    That needs a search to read at most half of the lists, and enough rows that were not removed.

    Args:
        entry: the index.
        live: the number of rows covered by the index that were not removed.
    """
    return 2 * entry.probes <= entry.lists and live >= max(MIN_ROWS, _MIN_LIVE * entry.held)


def has_usual_length(shard: Shard, median: float) -> np.ndarray:
    """Return the rows (N,) bool of a shard that an index can hold: their length is near the median."""
    length = shard.row_numbers("length").numpy()
    return (length <= _MAX_RATIO * median) & (_MAX_RATIO * length >= median)


class Index:
    """
    A memory-mapped index. It is verified when it is first used.

    All its data is in the shards too, so a damaged index does not damage the gallery: `is_usable` becomes false, and
    `tbps gallery build-index` rebuilds the index.

    Args:
        directory: the gallery's folder.
        entry: the index's entry in the manifest.
    """

    def __init__(self, directory: Path, entry: IndexEntry) -> None:
        self.entry = entry
        self._fault: GalleryError | None = None
        self._others: list[np.ndarray | None] | None = None
        try:
            self._file = CheckedFile(directory / entry.file, entry.size, entry.checksums)
        except GalleryError as error:
            self._disable(error)

    def _disable(self, fault: GalleryError) -> None:
        self._fault = fault
        logger.warning("%s Searches are exact without the index. `tbps gallery build-index` rebuilds it.", fault)

    def is_usable(self, nprobe: int | None, live: int) -> bool:
        """
        Whether a search should use the index. If it is damaged, a warning says so once.

        Args:
            nprobe: the number of lists to read, if the search names it. Then the index need not be worthwhile.
            live: the number of rows covered by the index that were not removed.

        Raises:
            ImportError: FAISS is not installed.
        """
        if nprobe is None and not is_worthwhile(self.entry, live):
            return False
        try:
            return self._fault is None and self._index is not None
        except GalleryError as error:
            self._disable(error)
            return False

    @cached_property
    def _index(self) -> Any:
        """FAISS's index, which reads the mapped and verified bytes."""
        faiss = import_faiss()
        self._file.verify()
        data = self._file.bytes
        try:
            index = faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(data), len(data)), faiss.IO_FLAG_MMAP_IFC)
            _check(index, self.entry)
        except (RuntimeError, MemoryError, ValueError, AttributeError) as error:
            raise GalleryError(f"{self._file.path} is not an index of this gallery ({str(error)[-200:]}).") from error
        return index

    def others(self, shards: Sequence[Shard]) -> list[np.ndarray | None]:
        """For each shard that the index covers, return the rows (N,) bool that are not in it, or None if all are."""
        if self._others is None:
            rest = np.ones(self.entry.rows, bool)
            rest[_positions(self._index)] = False
            parts = np.split(rest, np.cumsum([len(shard) for shard in shards])[:-1])
            self._others = [some if some.any() else None for some in parts]
        return self._others

    def verify(self) -> None:
        """
        Read the complete file, and open it if FAISS is installed.

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
        Find rows that are probably among the best.

        Args:
            queries: (Q, E) float32, of unit length.
            count: the maximum number of rows per query.
            nprobe: the number of lists to read; None reads as many as were measured to be enough.
            allowed: the rows (rows,) bool that may be found.

        Returns:
            For each query the ascending positions of the rows.
        """
        faiss = import_faiss()
        nprobe = min(nprobe or self.entry.probes, self.entry.lists)
        only = None if allowed.all() else faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        settings = faiss.SearchParametersIVF(nprobe=nprobe, sel=only)
        _, positions = self._index.search(queries, min(count, self.entry.rows), params=settings)
        return [np.sort(row[row >= 0]) for row in positions]  # FAISS fills up with -1


def _check(index: Any, entry: IndexEntry) -> None:
    """Refuse an index whose rows or lists differ from what the manifest states.

    FAISS checks lengths and offsets when it reads the file (1.15).
    """
    faiss = import_faiss()
    if not isinstance(index, faiss.IndexIVFScalarQuantizer) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError(f"it is of type {type(index).__name__}")
    if (index.ntotal, index.nlist, index.quantizer.ntotal) != (entry.held, entry.lists, entry.lists):
        raise ValueError(f"it has {index.ntotal} rows in {index.nlist} lists, expected {entry.held} in {entry.lists}")
    positions = _positions(index)
    if len(positions) != entry.held or len(np.unique(positions)) != entry.held:
        raise ValueError(f"its lists must hold {entry.held} different rows, got {len(positions)}")
    if positions.min() < 0 or positions.max() >= entry.rows:
        raise ValueError("its lists hold a row that the gallery does not have")


def _positions(index: Any) -> np.ndarray:
    """Return the positions of the rows in all lists."""
    faiss = import_faiss()
    sizes = [index.invlists.list_size(number) for number in range(index.nlist)]
    return np.concatenate(
        [faiss.rev_swig_ptr(index.invlists.get_ids(number), size) for number, size in enumerate(sizes) if size]
    )
