"""Making an approximate index: learn its lists, fill them, and measure how many of them a search must read.

How many lists hold the ten best rows depends on the vectors. So queries that are no rows of the gallery are asked of
the index and of an exact search. They are of two kinds: two images' vectors mixed, as a picture of a third person lies
between others; and an image's vector with as much noise, as a sentence's vector lies outside of the images'. What
counts is the kind that finds less. Sentences themselves were not asked: they may find fewer, or more.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from tbps.data.atomic_files import write_atomically
from tbps.gallery.folder.checked_file import block_checksums
from tbps.gallery.folder.faiss_index import Index, has_usual_length, import_faiss
from tbps.gallery.folder.manifest import IndexEntry
from tbps.gallery.folder.search import Ranked, rank
from tbps.gallery.folder.shards import Shard
from tbps.gallery.store import TARGET_RECALL, SearchRequest
from tbps.gallery.vectors import directions

_ROWS_A_LIST = 1000  # a thousand lists for a million rows: few enough to compare a query with all of them
_SAMPLE_A_LIST = 50  # rows that the lists are learnt from
_ADDED_AT_ONCE = 16384
_ITERATIONS = 10
_SEED = 0
_QUERIES = 128  # of each kind
_BEST, _CANDIDATES = 10, 100


def write_index(path: Path, shards: Sequence[Shard], nlist: int | None = None, target_recall: float = TARGET_RECALL,
                progress: bool = True) -> IndexEntry:  # fmt: skip
    """
    Make an index of the rows of all shards and write its file in one step.

    Args:
        shards: with one row or more that was not removed. nlist: None is one for a thousand rows. target_recall: the
            share of the ten best rows that the lists read should hold.

    Raises:
        ValueError: more lists than rows, or a share out of range. ImportError: FAISS is not installed.
    """
    if not 0 < target_recall <= 1:
        raise ValueError(f"target_recall={target_recall}: expected a share above 0 and up to 1.")
    faiss = import_faiss()
    median = _median_length(shards)
    taken = [np.flatnonzero(has_usual_length(shard, median) & ~shard.removed) for shard in shards]
    rows = sum(map(len, taken))
    if nlist is not None and nlist > rows:
        raise ValueError(f"nlist={nlist} is more than the {rows} images to sort into them: give fewer, or none.")
    nlist = nlist or max(1, rows // _ROWS_A_LIST)
    index = _trained(faiss, nlist, _vectors(shards, taken, _drawn(rows, _SAMPLE_A_LIST * nlist)))
    _fill(index, shards, taken, progress)
    data = memoryview(faiss.serialize_index(index))
    write_atomically(path, data)
    entry = IndexEntry(
        path.name, sum(map(len, shards)), nlist, len(data), block_checksums(data), held=rows, probes=nlist,
        target_recall=target_recall, recall=0.0, queries=2 * _QUERIES, length=median,
    )  # fmt: skip
    del index, data  # from here on it is read as a search does
    nprobe, recall = _smallest_nprobe(shards, Index(path.parent, entry))
    return replace(entry, probes=nprobe, recall=recall)


def _median_length(shards: Sequence[Shard]) -> float:
    """Of the rows that were not removed; of two in the middle the lower one, so that some row has it."""
    lengths = np.concatenate([shard.of_codes("length").numpy()[~shard.removed] for shard in shards])
    return float(np.sort(lengths)[(len(lengths) - 1) // 2])


def _drawn(rows: int, count: int) -> np.ndarray:
    """At most `count` numbers below `rows`, in ascending order."""
    return np.sort(np.random.default_rng(_SEED).permutation(rows)[:count])


def _vectors(shards: Sequence[Shard], taken: Sequence[np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """Those (n, E) of some rows, named in ascending order by their numbers among the places taken of all shards."""
    cuts = np.searchsorted(chosen, np.cumsum([0, *map(len, taken)]))
    starts = np.cumsum([0, *map(len, taken)])
    parts = [chosen[cuts[i] : cuts[i + 1]] - starts[i] for i in range(len(shards))]
    return np.concatenate([
        shard.vectors(places[part]) for shard, places, part in zip(shards, taken, parts, strict=True)
    ])  # fmt: skip


def _trained(faiss: Any, nlist: int, sample: np.ndarray) -> Any:
    index = faiss.index_factory(sample.shape[1], f"IVF{nlist},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.seed = _ITERATIONS, _SEED
    index.cp.min_points_per_centroid = 1  # a small gallery is no reason for a warning
    index.train(sample)
    return index


def _fill(index: Any, shards: Sequence[Shard], taken: Sequence[np.ndarray], progress: bool) -> None:
    """Add the rows taken of all shards, each by its place among all rows."""
    starts = np.cumsum([0, *map(len, shards)])
    with tqdm(total=sum(map(len, taken)), desc="index", disable=not progress) as bar:
        for shard, start, places in zip(shards, starts[:-1], taken, strict=True):
            for first in range(0, len(places), _ADDED_AT_ONCE):
                some = places[first : first + _ADDED_AT_ONCE]
                index.add_with_ids(shard.vectors(some), some + start)
                bar.update(len(some))


def _smallest_nprobe(shards: Sequence[Shard], index: Index) -> tuple[int, float]:
    """The least number of lists (to an eighth) that reaches the target, or all; and the recall measured with it."""
    allowed = [~shard.removed for shard in shards]
    k = min(_BEST, sum(int(some.sum()) for some in allowed))
    kinds = _altered(shards, [np.flatnonzero(some) for some in allowed])
    last = [[scores[-1] for scores, _ in rank(kind, shards, allowed, SearchRequest(k), 0)] for kind in kinds]

    def recall(nprobe: int) -> float:
        request = SearchRequest(k, "index", max(k, _CANDIDATES), nprobe)
        found = [rank(kind, shards, allowed, request, 0, index) for kind in kinds]
        return min(_share_as_good(some, least) for some, least in zip(found, last, strict=True)) / k

    low, high, reached = 0, 1, recall(1)
    while reached < index.entry.target_recall and high < index.entry.lists:
        low, high = high, min(2 * high, index.entry.lists)
        reached = recall(high)
    while high - low > max(1, high // 8) and reached >= index.entry.target_recall:
        middle = (low + high) // 2
        if (found := recall(middle)) >= index.entry.target_recall:
            high, reached = middle, found
        else:
            low = middle
    return high, reached


def _altered(shards: Sequence[Shard], kept: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Two kinds of queries (Q, E) of unit length: two rows mixed, and a row with as much noise."""
    rows, rng = sum(map(len, kept)), np.random.default_rng(_SEED)
    chosen = np.sort(rng.integers(0, rows, 2 * _QUERIES))
    drawn, _ = directions(_vectors(shards, kept, chosen))
    rng.shuffle(drawn)
    noise, _ = directions(rng.standard_normal((_QUERIES, drawn.shape[1]), np.float32))
    some, others = drawn[:_QUERIES], drawn[_QUERIES:]
    return some + others, some + noise


def _share_as_good(found: Sequence[Ranked], least: Sequence[float]) -> float:
    """How many of the rows found for a query, on average, are as good as the last one that should be found: of rows
    with the same vector any will do."""
    return float(np.mean([(scores >= last).sum() for (scores, _), last in zip(found, least, strict=True)]))
