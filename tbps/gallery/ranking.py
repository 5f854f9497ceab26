"""The rows of the largest inner product with a query, found by 8-bit codes and decided by whole vectors.

Exactness: the product of a query q with a stored vector x differs from that with its code by at most |q| |x - code|
(Cauchy-Schwarz), which is known when the shard is written. With e the largest such difference, a row among the k best
has an approximate score of at least the k-th best approximate score minus 2 e: only those rows are scored in full.
"""

from collections.abc import Sequence

import numpy as np
import torch

from tbps.gallery.codes import products
from tbps.gallery.home import Wanted
from tbps.gallery.scoring import row_scores
from tbps.gallery.shards import Shard

_SCORES_AT_ONCE = 1 << 25
_ROUNDING = 1e-6  # of float32 sums of unit vectors, generously
_SPARSE = 5  # fewer than one row in so many: picking them out costs less than scoring all

Ranked = tuple[np.ndarray, np.ndarray]  # scores in descending order, places among all rows of all shards


def rank(queries: np.ndarray, shards: Sequence[Shard], allowed: Sequence[np.ndarray], wanted: Wanted,
         prefix_dim: int) -> list[Ranked]:  # fmt: skip
    """
    For each query the best rows.

    Args:
        queries: (Q, E) float32. shards: at least one. allowed: for each shard the rows (N,) bool that may be found.
        prefix_dim: the numbers of a vector that mode "prefix" looks at first.

    Returns:
        For each query at most `wanted.k` scores and places, best first; among equal scores the first place comes first.
    """
    rows = sum(len(shard) for shard in shards)
    at_once = max(1, _SCORES_AT_ONCE // rows)
    parts = (queries[start : start + at_once] for start in range(0, len(queries), at_once))
    return [found for part in parts for found in _rank(part, shards, allowed, wanted, prefix_dim)]


def _rank(queries: np.ndarray, shards: Sequence[Shard], allowed: Sequence[np.ndarray], wanted: Wanted,
          prefix_dim: int) -> list[Ranked]:  # fmt: skip
    exact = wanted.mode == "exact"
    dim = prefix_dim if wanted.mode == "prefix" else queries.shape[1]
    rough, errors = zip(
        *(_rough(queries[:, :dim], shard, chosen, 2 if exact else 1) for shard, chosen in zip(shards, allowed,
                                                                                              strict=True)),
        strict=True,
    )  # fmt: skip
    scores = torch.cat(rough, dim=1)  # (Q, rows)
    count = min(wanted.k if exact else max(wanted.k, wanted.candidates), int(sum(chosen.sum() for chosen in allowed)))
    if not count:
        return [(np.empty(0, np.float32), np.empty(0, np.int64)) for _ in queries]
    least = scores.topk(count, dim=1).values[:, -1].numpy()  # (Q,)
    if exact:
        least -= 2 * np.max(errors, axis=0) + _ROUNDING
    starts = np.cumsum([0, *(len(shard) for shard in shards)])
    return [
        _decide(query, shards, starts, np.flatnonzero(row >= bound), wanted.k)
        for query, row, bound in zip(queries, scores.numpy(), least, strict=True)
    ]


def _rough(queries: np.ndarray, shard: Shard, chosen: np.ndarray, rounds: int) -> tuple[torch.Tensor, np.ndarray]:
    """Approximate scores (Q, N), minus infinity for rows that may not be found, and a bound (Q,) on their error."""
    dim = queries.shape[1]
    share = np.count_nonzero(chosen)
    codes = shard.codes[:, :dim]
    if share == len(shard):
        scores, error = products(queries, codes, shard.steps[:dim], rounds)
    else:
        places = torch.from_numpy(np.flatnonzero(chosen))
        sparse = share * _SPARSE < len(shard)
        some, error = products(queries, codes[places] if sparse else codes, shard.steps[:dim], rounds)
        scores = torch.full((len(queries), len(shard)), -torch.inf)
        scores[:, places] = some if sparse else some[:, places]
    return scores, error + np.linalg.norm(queries, axis=1) * shard.slack


def _decide(query: np.ndarray, shards: Sequence[Shard], starts: np.ndarray, places: np.ndarray, k: int) -> Ranked:
    """Score the rows at some places, in ascending order, in full."""
    cuts = np.searchsorted(places, starts)
    scores = np.concatenate(
        [
            row_scores(shard.vectors(places[cuts[i] : cuts[i + 1]] - starts[i]), query)
            for i, shard in enumerate(shards)
            if cuts[i] < cuts[i + 1]
        ]
    )
    best = np.argsort(-scores, kind="stable")[:k]
    return scores[best], places[best]
