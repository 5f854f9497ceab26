"""Building an approximate index: learn its lists, fill them, and measure how many of them a search must read.

How many lists hold the ten best rows depends on the vectors. So the recall is measured with altered vectors of the
gallery as queries, of two kinds. The sum of two image vectors stands for an image of another person, and the sum of an
image vector and noise of the same length stands for a text query, whose vector lies apart from those of images. The
lower recall of the two counts. Real text queries were not measured; their recall may be lower or higher.
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
from tbps.gallery.folder.manifest_entries import IndexEntry
from tbps.gallery.folder.search import Ranked, rank
from tbps.gallery.folder.shards import Shard
from tbps.gallery.store import TARGET_RECALL, SearchRequest
from tbps.gallery.vectors import directions

_ROWS_PER_LIST = 1000  # a million rows have a thousand lists, few enough to compare a query with all of them
_SAMPLE_PER_LIST = 50  # rows that the lists are learnt from
_BATCH = 16384
_ITERATIONS = 10
_SEED = 0
_QUERIES = 128  # of each kind
_TOP_K, _CANDIDATES = 10, 100


def write_index(path: Path, shards: Sequence[Shard], nlist: int | None = None, target_recall: float = TARGET_RECALL,
                progress: bool = True) -> IndexEntry:  # fmt: skip
    """
    Build an index of all rows and write its file atomically.

    Args:
        path: the file of the index.
        shards: the shards of the gallery, with at least one row that was not removed.
        nlist: the number of lists; None is one for every thousand rows.
        target_recall: the recall@10 to reach, above 0 and up to 1.
        progress: show a progress bar.

    Raises:
        ValueError: more lists than rows, or a recall out of range.
        ImportError: FAISS is not installed.
    """
    if not 0 < target_recall <= 1:
        raise ValueError(f"target_recall must be above 0 and at most 1, got {target_recall}.")
    faiss = import_faiss()
    median = _median_length(shards)
    taken = [np.flatnonzero(has_usual_length(shard, median) & ~shard.removed) for shard in shards]
    rows = sum(map(len, taken))
    if nlist is not None and nlist > rows:
        raise ValueError(
            f"nlist={nlist} is more than the {rows} images to divide among the lists. Give a smaller number, or None."
        )
    nlist = nlist or max(1, rows // _ROWS_PER_LIST)
    index = _trained(faiss, nlist, _vectors(shards, taken, _sample(rows, _SAMPLE_PER_LIST * nlist)))
    _fill(index, shards, taken, progress)
    data = memoryview(faiss.serialize_index(index))
    write_atomically(path, data)
    entry = IndexEntry(
        path.name, sum(map(len, shards)), nlist, len(data), block_checksums(data), held=rows, probes=nlist,
        target_recall=target_recall, recall=0.0, queries=2 * _QUERIES, length=median,
    )  # fmt: skip
    del index, data  # from here on, read the file as a search does
    nprobe, recall = _smallest_nprobe(shards, Index(path.parent, entry))
    return replace(entry, probes=nprobe, recall=recall)


def _median_length(shards: Sequence[Shard]) -> float:
    """Return the lower median length of the rows that were not removed, which is the length of a row."""
    lengths = np.concatenate([shard.row_numbers("length").numpy()[~shard.removed] for shard in shards])
    return float(np.sort(lengths)[(len(lengths) - 1) // 2])


def _sample(rows: int, count: int) -> np.ndarray:
    """Draw at most `count` different numbers below `rows`, in ascending order."""
    return np.sort(np.random.default_rng(_SEED).permutation(rows)[:count])


def _vectors(shards: Sequence[Shard], taken: Sequence[np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """Return the vectors (n, E) of chosen rows. `chosen` counts, ascending, through the positions in `taken`."""
    cuts = np.searchsorted(chosen, np.cumsum([0, *map(len, taken)]))
    starts = np.cumsum([0, *map(len, taken)])
    parts = [chosen[cuts[i] : cuts[i + 1]] - starts[i] for i in range(len(shards))]
    return np.concatenate([
        shard.vectors(positions[part]) for shard, positions, part in zip(shards, taken, parts, strict=True)
    ])  # fmt: skip


def _trained(faiss: Any, nlist: int, sample: np.ndarray) -> Any:
    index = faiss.index_factory(sample.shape[1], f"IVF{nlist},SQ8", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.seed = _ITERATIONS, _SEED
    index.cp.min_points_per_centroid = 1  # no warning for a small gallery
    index.train(sample)
    return index


def _fill(index: Any, shards: Sequence[Shard], taken: Sequence[np.ndarray], progress: bool) -> None:
    """Add the rows at the positions in `taken`, each under its position among the rows of all shards."""
    starts = np.cumsum([0, *map(len, shards)])
    with tqdm(total=sum(map(len, taken)), desc="index", disable=not progress) as bar:
        for shard, start, positions in zip(shards, starts[:-1], taken, strict=True):
            for first in range(0, len(positions), _BATCH):
                some = positions[first : first + _BATCH]
                index.add_with_ids(shard.vectors(some), some + start)
                bar.update(len(some))


def _smallest_nprobe(shards: Sequence[Shard], index: Index) -> tuple[int, float]:
    """Find the smallest number of lists (within an eighth) that reaches the target recall, or all lists; and the recall
    measured with it."""
    allowed = [~shard.removed for shard in shards]
    k = min(_TOP_K, sum(int(some.sum()) for some in allowed))
    kinds = _altered(shards, [np.flatnonzero(some) for some in allowed])
    thresholds = [[scores[-1] for scores, _ in rank(kind, shards, allowed, SearchRequest(k), 0)] for kind in kinds]

    def recall(nprobe: int) -> float:
        request = SearchRequest(k, "index", max(k, _CANDIDATES), nprobe)
        found = [rank(kind, shards, allowed, request, 0, index) for kind in kinds]
        return min(_mean_hits(some, least) for some, least in zip(found, thresholds, strict=True)) / k

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


def _altered(shards: Sequence[Shard], live: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Make two kinds of queries (Q, E): sums of two unit vectors, and sums of a unit vector and unit noise."""
    rows, rng = sum(map(len, live)), np.random.default_rng(_SEED)
    chosen = np.sort(rng.integers(0, rows, 2 * _QUERIES))
    drawn, _ = directions(_vectors(shards, live, chosen))
    rng.shuffle(drawn)
    noise, _ = directions(rng.standard_normal((_QUERIES, drawn.shape[1]), np.float32))
    some, others = drawn[:_QUERIES], drawn[_QUERIES:]
    return some + others, some + noise


def _mean_hits(found: Sequence[Ranked], thresholds: Sequence[float]) -> float:
    """Count the rows found per query that score as high as its last exact hit: equal vectors are interchangeable."""
    return float(np.mean([(scores >= last).sum() for (scores, _), last in zip(found, thresholds, strict=True)]))
