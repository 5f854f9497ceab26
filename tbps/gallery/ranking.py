"""The rows of the largest inner product with a query, found by 8-bit codes and decided by whole vectors.

Exactness: the product of a query q with a stored vector x differs from that with its code by at most |q| |x - code|
(Cauchy-Schwarz), which is known when the shard is written, and rounding the query adds a bound of its own. With e the
largest such difference, a row among the k best has an approximate score of at least the k-th best approximate score
minus 2 e: only those rows are scored in full.
"""

from collections.abc import Sequence

import numpy as np
import torch

from tbps.gallery.codes import Products, products
from tbps.gallery.home import Wanted
from tbps.gallery.index import Index
from tbps.gallery.scoring import row_scores
from tbps.gallery.shards import Shard

_SCORES_AT_ONCE = 1 << 25
_ROUNDING = 1e-6  # of float32 sums of unit vectors, generously
_SPARSE = 5  # fewer than one row in so many: picking them out costs less than scoring all

Ranked = tuple[np.ndarray, np.ndarray]  # scores in descending order, places among all rows of all shards


def rank(queries: np.ndarray, shards: Sequence[Shard], allowed: Sequence[np.ndarray], wanted: Wanted,
         prefix_dim: int, index: Index | None = None) -> list[Ranked]:  # fmt: skip
    """
    For each query the best rows.

    Args:
        queries: (Q, E) float32. shards: of the gallery. allowed: for each shard the rows (N,) bool that may be found.
        prefix_dim: the numbers of a vector that mode "prefix" looks at first. index: of the first shards.

    Returns:
        For each query at most `wanted.k` scores and places, best first; among equal scores the first place comes first.
    """
    if not any(chosen.any() for chosen in allowed):
        return [(np.empty(0, np.float32), np.empty(0, np.int64)) for _ in queries]
    starts = np.cumsum([0, *(len(shard) for shard in shards)])
    at_once = max(1, _SCORES_AT_ONCE // int(starts[-1]))
    found = []
    for first in range(0, len(queries), at_once):
        part = queries[first : first + at_once]
        if index is not None and wanted.mode == "index" and wanted.filter is None:
            places = _by_index(part, shards, starts, allowed, wanted, index)
        else:
            places = _by_codes(part, shards, allowed, wanted, prefix_dim)
        found += [_decide(query, shards, starts, some, wanted.k) for query, some in zip(part, places, strict=True)]
    return found


def _by_codes(queries: np.ndarray, shards: Sequence[Shard], allowed: Sequence[np.ndarray], wanted: Wanted,
              prefix_dim: int) -> list[np.ndarray]:  # fmt: skip
    """For each query the places, in ascending order, of rows that may be among the best."""
    coarse = wanted.mode in ("int8", "prefix")
    count = min(max(wanted.k, wanted.candidates) if coarse else wanted.k, sum(int(chosen.sum()) for chosen in allowed))
    if not count:
        return [np.empty(0, np.int64) for _ in queries]
    dim = prefix_dim if wanted.mode == "prefix" else queries.shape[1]
    rough = [_rough(queries[:, :dim], shard, chosen) for shard, chosen in zip(shards, allowed, strict=True)]
    scores = torch.cat([some for some, _ in rough], dim=1)  # (Q, rows)
    least = scores.topk(count, dim=1).values[:, -1].numpy()  # (Q,)
    if not coarse:
        least = least - 2 * np.max([error for _, error in rough], axis=0) - _ROUNDING
    return [np.flatnonzero(row >= bound) for row, bound in zip(scores.numpy(), least, strict=True)]


def _by_index(queries: np.ndarray, shards: Sequence[Shard], starts: np.ndarray, allowed: Sequence[np.ndarray],
              wanted: Wanted, index: Index) -> list[np.ndarray]:  # fmt: skip
    """As `_by_codes`: of the rows in the index what it gives, of shards added since then what is exact."""
    indexed = int(np.searchsorted(starts, index.entry.rows))  # shards
    old = index.candidates(queries, max(wanted.k, wanted.candidates), wanted.probes, np.concatenate(allowed[:indexed]))
    new = _by_codes(queries, shards[indexed:], allowed[indexed:], wanted, 0) if indexed < len(shards) else None
    return old if new is None else [
        np.concatenate([few, more + starts[indexed]]) for few, more in zip(old, new, strict=True)
    ]  # fmt: skip


def _rough(queries: np.ndarray, shard: Shard, chosen: np.ndarray) -> Products:
    """Approximate scores (Q, N), minus infinity for rows that may not be found, and a bound (Q,) on their error."""
    dim = queries.shape[1]
    share = np.count_nonzero(chosen)
    codes = shard.codes[:, :dim]
    if share == len(shard):
        scores, error = products(queries, codes, shard.steps[:dim], shard.reach)
    else:
        places = torch.from_numpy(np.flatnonzero(chosen))
        sparse = share * _SPARSE < len(shard)
        some, error = products(queries, codes[places] if sparse else codes, shard.steps[:dim], shard.reach)
        scores = torch.full((len(queries), len(shard)), -torch.inf)
        scores[:, places] = some if sparse else some[:, places]
    return scores, error + np.linalg.norm(queries, axis=1) * shard.slack


def _decide(query: np.ndarray, shards: Sequence[Shard], starts: np.ndarray, places: np.ndarray, k: int) -> Ranked:
    """Score the rows at some places, in ascending order, in full."""
    cuts = np.searchsorted(places, starts)
    held = [i for i in range(len(shards)) if cuts[i] < cuts[i + 1]]
    if not held:
        return np.empty(0, np.float32), np.empty(0, np.int64)
    rows = (shards[i].vectors(places[cuts[i] : cuts[i + 1]] - starts[i]) for i in held)
    scores = np.concatenate([row_scores(some, query) for some in rows])
    best = np.argsort(-scores, kind="stable")[:k]
    return scores[best], places[best]
