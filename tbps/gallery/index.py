"""An approximate index of a gallery in a folder, on request: FAISS's inverted lists of 8-bit codes.

A search reads the lists nearest to the query instead of all rows; the candidates that it gives are then scored by
whole vectors, as always.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from tbps.files import write_atomically
from tbps.gallery.blocks import CheckedFile, block_checksums
from tbps.gallery.errors import GalleryError
from tbps.gallery.manifest import IndexEntry
from tbps.gallery.shards import Shard

logger = logging.getLogger(__name__)

_ROWS_A_LIST = 1000  # a thousand lists for a million rows: few enough to compare a query with all of them
_SAMPLE_A_LIST = 50  # rows that the lists are learnt from
_ADDED_AT_ONCE = 16384
_ITERATIONS = 10
_SEED = 0


def import_faiss() -> Any:
    """FAISS, which most galleries do without.

    Raises:
        ImportError: it is not installed; the message says how.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError("The index needs FAISS: `pip install tbps[faiss]`.") from error
    return faiss


def write_index(path: Path, shards: Sequence[Shard], lists: int | None, progress: bool = True) -> IndexEntry:
    """Learn the lists from a sample of the rows of all shards, put all rows into them, write the file in one step."""
    faiss = import_faiss()
    rows = sum(map(len, shards))
    lists = lists or max(1, rows // _ROWS_A_LIST)
    dim = len(shards[0].steps)
    index = faiss.index_factory(dim, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.seed = _ITERATIONS, _SEED
    index.cp.min_points_per_centroid = 1  # a small gallery is no reason for a warning
    index.train(_sample(shards, rows, _SAMPLE_A_LIST * lists))
    with tqdm(total=rows, desc="index", disable=not progress) as bar:
        for vectors in _pieces(shards):
            index.add(vectors)
            bar.update(len(vectors))
    data = memoryview(faiss.serialize_index(index))
    write_atomically(path, data)
    return IndexEntry(path.name, rows, lists, len(data), block_checksums(data))


def _pieces(shards: Sequence[Shard]) -> Iterator[np.ndarray]:
    for shard in shards:
        for start in range(0, len(shard), _ADDED_AT_ONCE):
            yield shard.vectors(slice(start, start + _ADDED_AT_ONCE))


def _sample(shards: Sequence[Shard], rows: int, count: int) -> np.ndarray:
    """At most `count` vectors, drawn evenly from all shards."""
    chosen = np.sort(np.random.default_rng(_SEED).permutation(rows)[:count])
    starts = np.cumsum([0, *map(len, shards)])
    cuts = np.searchsorted(chosen, starts)
    return np.concatenate([shard.vectors(chosen[cuts[i] : cuts[i + 1]] - starts[i]) for i, shard in enumerate(shards)])


class Index:
    """
    An index under a memory map; it is opened and verified when it is first asked.

    It holds nothing that the shards do not hold, so none of its faults is one of the gallery: `is_sound` says whether
    it can be asked, and `tbps gallery index` makes it again.
    """

    def __init__(self, directory: Path, entry: IndexEntry) -> None:
        self.entry = entry
        self._fault: GalleryError | None = None
        try:
            self._file = CheckedFile(directory / entry.file, entry.size, entry.checksums)
        except GalleryError as error:
            self._pass_over(error)

    def _pass_over(self, fault: GalleryError) -> None:
        self._fault = fault
        logger.warning("%s Without it searches are exact; `tbps gallery index` makes it again.", fault)

    def is_sound(self) -> bool:
        """Whether it can be asked. The first time that it cannot, a warning says why.

        Raises:
            ImportError: FAISS is not installed.
        """
        try:
            return self._fault is None and self._index is not None
        except GalleryError as error:
            self._pass_over(error)
            return False

    @cached_property
    def _index(self) -> Any:
        faiss = import_faiss()
        self._file.verify()
        try:
            index = faiss.read_index(str(self._file.path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
            _check(index, self.entry)
        except (RuntimeError, MemoryError, ValueError, AttributeError) as error:
            raise GalleryError(f"{self._file.path} is no index of this gallery ({str(error)[-200:]}).") from error
        return index

    def verify(self) -> None:
        """
        Read all of the file.

        Raises:
            GalleryError: it is missing or damaged.
        """
        if self._fault is not None:
            raise self._fault
        self._file.verify()

    def candidates(self, queries: np.ndarray, count: int, probes: int | None, allowed: np.ndarray) -> list[np.ndarray]:
        """
        For each query (Q, E) the places, in ascending order, of at most `count` rows that are likely to fit best.

        Args:
            probes: lists to read; None is a sixteenth of them. allowed: (rows,) bool, those that may be found.
        """
        faiss = import_faiss()
        probes = probes or max(1, self.entry.lists // 16)
        only = None if allowed.all() else faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        settings = faiss.SearchParametersIVF(nprobe=min(probes, self.entry.lists), sel=only)
        _, places = self._index.search(queries, min(count, self.entry.rows), params=settings)
        return [np.sort(row[row >= 0]) for row in places]  # -1: the lists read hold no more


def _check(index: Any, entry: IndexEntry) -> None:
    """Refuse an index that has other rows or lists than the manifest says, before a row of it is asked for.

    FAISS checks lengths and places itself as it reads (1.15).
    """
    faiss = import_faiss()
    if not isinstance(index, faiss.IndexIVFScalarQuantizer) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError(f"it is a {type(index).__name__}")
    if (index.ntotal, index.nlist, index.quantizer.ntotal) != (entry.rows, entry.lists, entry.lists):
        raise ValueError(f"it has {index.ntotal} rows in {index.nlist} lists")
    sizes = [index.invlists.list_size(number) for number in range(entry.lists)]
    if sum(sizes) != entry.rows:
        raise ValueError(f"its lists hold {sum(sizes)} rows")
    pieces = [faiss.rev_swig_ptr(index.invlists.get_ids(n), size) for n, size in enumerate(sizes) if size]
    if not np.array_equal(np.sort(np.concatenate(pieces)), np.arange(entry.rows)):
        raise ValueError("its lists do not hold each row once")
