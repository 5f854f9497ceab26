"""The rows of the largest inner product with a query, found by 8-bit codes and decided by whole vectors.

Exactness: for each row the product of a query with its vector differs from that with its code by at most a bound,
which is its own (`codes.products`). Score minus bound is what a row reaches at least, score plus bound at most. At
least k rows reach the k-th largest of the former, so a row whose score plus bound is below it is not among the k
best: all others are scored in full. Queries are brought to unit length before; that changes no order.
"""

from collections.abc import Sequence

import numpy as np
import torch

from tbps.gallery.folder.faiss_index import Index
from tbps.gallery.folder.int8 import ROUNDING, Products, products
from tbps.gallery.folder.shards import Shard
from tbps.gallery.store import SearchRequest
from tbps.gallery.vectors import cosines, directions, row_scores

_SCORES_AT_ONCE = 1 << 24
_SHORT = 1e-36  # length: of shorter rows float32 may not hold the inverse
_SPARSE = 5  # fewer than one row in so many: picking them out costs less than scoring all

Ranked = tuple[np.ndarray, np.ndarray]  # scores in descending order, places among all rows of all shards


def rank(queries: np.ndarray, shards: Sequence[Shard], allowed: Sequence[np.ndarray], request: SearchRequest,
         prefix_dim: int, index: Index | None = None) -> list[Ranked]:  # fmt: skip
    """
    For each query the best rows.

    Args:
        queries: (Q, E) float32. shards: of the gallery. allowed: for each shard the rows (N,) bool that may be found.
        prefix_dim: the numbers of a vector that mode "global" looks at first. index: of the first shards.

    Returns:
        For each query at most `request.k` scores and places, best first; of equal scores the first place comes first.
    """
    enough = min(request.k, sum(map(np.count_nonzero, allowed)))
    if not enough:
        return [(np.empty(0, np.float64), np.empty(0, np.int64)) for _ in queries]
    starts = np.cumsum([0, *(len(shard) for shard in shards)])
    at_once = max(1, _SCORES_AT_ONCE // int(starts[-1]))
    found = []
    for first in range(0, len(queries), at_once):
        part = queries[first : first + at_once]
        if index is not None and request.mode == "index" and request.filter is None:
            places = _by_index(part, shards, starts, allowed, request, index)
            few = [number for number, some in enumerate(places) if len(some) < enough]  # the lists read hold no more
            for number in few:
                places[number] = _by_codes(part[number : number + 1], shards, allowed, request, prefix_dim)[0]
        else:
            places = _by_codes(part, shards, allowed, request, prefix_dim)
        found += [_decide(query, shards, starts, some, request) for query, some in zip(part, places, strict=True)]
    return found


def _by_codes(queries: np.ndarray, shards: Sequence[Shard], allowed: Sequence[np.ndarray], request: SearchRequest,
              prefix_dim: int) -> list[np.ndarray]:  # fmt: skip
    """For each query the places, in ascending order, of rows that may be among the best."""
    coarse = request.mode in ("int8", "global")
    count = min(max(request.k, request.candidates) if coarse else request.k, sum(map(np.count_nonzero, allowed)))
    if not count:
        return [np.empty(0, np.int64) for _ in queries]
    dim = prefix_dim if request.mode == "global" else queries.shape[1]
    asked = directions(queries)[0][:, :dim]
    rough = [_rough(asked, shard, chosen) for shard, chosen in zip(shards, allowed, strict=True)]
    if request.cosine:
        rough = [_divided(*some, shard.of_codes("length")) for some, shard in zip(rough, shards, strict=True)]
    scores = _joined([some for some, _ in rough])  # (Q, rows)
    if coarse:
        least = most = scores
    else:
        bounds = _joined([bound for _, bound in rough])
        least, most = scores - bounds, scores.add_(bounds)
    cut = least.topk(count, dim=1).values[:, -1:]  # (Q, 1)
    return [np.flatnonzero(row) for row in (most >= cut).numpy()]


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Those of all shards (Q, rows); of a single one, as they are."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def _by_index(queries: np.ndarray, shards: Sequence[Shard], starts: np.ndarray, allowed: Sequence[np.ndarray],
              request: SearchRequest, index: Index) -> list[np.ndarray]:  # fmt: skip
    """As `_by_codes`: of the rows in the index what it gives, of all others what is exact."""
    covered = int(np.searchsorted(starts, index.entry.rows))  # shards
    asked, _ = directions(queries)
    count = max(request.k, request.candidates)
    near = index.candidates(asked, count, request.nprobe, np.concatenate(allowed[:covered]))
    beside: dict[int, np.ndarray] = {number: allowed[number] for number in range(covered, len(shards))}
    for number, others in enumerate(index.others(shards[:covered])):
        if others is not None:
            beside[number] = allowed[number] & others
    if not beside:
        return near
    more = _by_codes(queries, [shards[number] for number in beside], list(beside.values()), request, 0)
    places = np.concatenate([np.arange(starts[number], starts[number + 1]) for number in beside])
    return [np.sort(np.concatenate([some, places[few]])) for some, few in zip(near, more, strict=True)]


def _rough(queries: np.ndarray, shard: Shard, chosen: np.ndarray) -> Products:
    """Approximate scores (Q, N), minus infinity for rows that may not be found, and a bound (Q, N) on their error."""
    dim = queries.shape[1]
    share = np.count_nonzero(chosen)
    codes, steps = shard.codes[:, :dim], shard.steps[:dim]
    numbers = [shard.of_codes(name) for name in ("scale", "slack", "reach")]
    if share == len(shard):
        return products(queries, codes, steps, *numbers)
    places = torch.from_numpy(np.flatnonzero(chosen))
    if share * _SPARSE >= len(shard):
        scores, bounds = products(queries, codes, steps, *numbers)
        return scores.masked_fill_(torch.from_numpy(~chosen), -torch.inf), bounds
    some, few = products(queries, codes[places], steps, *(one[places] for one in numbers))
    scores, bounds = torch.full((len(queries), len(shard)), -torch.inf), torch.zeros(len(queries), len(shard))
    scores[:, places], bounds[:, places] = some, few
    return scores, bounds


def _divided(scores: torch.Tensor, bounds: torch.Tensor, length: torch.Tensor) -> Products:
    """Cosines and their bounds from scores (Q, N) of queries of unit length, by the length (N,) of the rows."""
    usual = length > _SHORT
    scores = torch.where(usual, scores / length, scores)
    return scores, torch.where(usual, bounds / length + 4 * ROUNDING, torch.where(length > 0, torch.inf, bounds))


def _decide(query: np.ndarray, shards: Sequence[Shard], starts: np.ndarray, places: np.ndarray,
            request: SearchRequest) -> Ranked:  # fmt: skip
    """Score the rows at some places, in ascending order, in full."""
    cuts = np.searchsorted(places, starts)
    held = [i for i in range(len(shards)) if cuts[i] < cuts[i + 1]]
    if not held:
        return np.empty(0, np.float64), np.empty(0, np.int64)
    rows = (shards[i].vectors(places[cuts[i] : cuts[i + 1]] - starts[i]) for i in held)
    score = cosines if request.cosine else row_scores
    scores = np.concatenate([score(some, query) for some in rows])
    best = np.argsort(-scores, kind="stable")[: request.k]
    return scores[best], places[best]
