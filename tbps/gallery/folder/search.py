"""Exact search: rows with the largest inner product, preselected by 8-bit codes and scored by their full vectors.

For each row, the product of the query with the code differs from the product with the vector by at most a bound
(`int8.products`). So score - bound is a lower limit of the row's exact score, and score + bound an upper limit. At
least k rows reach the k-th largest lower limit. A row whose upper limit is below it is not among the k best; all other
rows are scored by their full vectors. Queries are scaled to unit length first, which does not change the order.
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
_SHORT = 1e-36  # the length below which float32 may not hold the inverse
_SPARSE = 5  # if fewer than one row in five is allowed, selecting rows costs less than scoring all

Ranked = tuple[np.ndarray, np.ndarray]  # scores in descending order, and positions among the rows of all shards


def rank(queries: np.ndarray, shards: Sequence[Shard], allowed: Sequence[np.ndarray], request: SearchRequest,
         prefix_dim: int, index: Index | None = None) -> list[Ranked]:  # fmt: skip
    """
    Find the best rows for each query.

    Args:
        queries: (Q, E) float32.
        shards: the shards of the gallery.
        allowed: for each shard, the rows (N,) bool that may be found.
        request: the options of the search.
        prefix_dim: the number of leading vector components that mode "global" compares first.
        index: an index of the first shards.

    Returns:
        For each query at most `request.k` scores and positions, best first. Equal scores are ordered by position.
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
            positions = _by_index(part, shards, starts, allowed, request, index)
            short = [
                number for number, some in enumerate(positions) if len(some) < enough
            ]  # the lists hold no more rows
            for number in short:
                positions[number] = _by_codes(part[number : number + 1], shards, allowed, request, prefix_dim)[0]
        else:
            positions = _by_codes(part, shards, allowed, request, prefix_dim)
        found += [_score(query, shards, starts, some, request) for query, some in zip(part, positions, strict=True)]
    return found


def _by_codes(queries: np.ndarray, shards: Sequence[Shard], allowed: Sequence[np.ndarray], request: SearchRequest,
              prefix_dim: int) -> list[np.ndarray]:  # fmt: skip
    """For each query, return the ascending positions of rows that may be among the best."""
    coarse = request.mode in ("int8", "global")
    count = min(max(request.k, request.candidates) if coarse else request.k, sum(map(np.count_nonzero, allowed)))
    if not count:
        return [np.empty(0, np.int64) for _ in queries]
    dim = prefix_dim if request.mode == "global" else queries.shape[1]
    units = directions(queries)[0][:, :dim]
    rough = [_approximate(units, shard, chosen) for shard, chosen in zip(shards, allowed, strict=True)]
    if request.cosine:
        rough = [_cosines(*some, shard.row_numbers("length")) for some, shard in zip(rough, shards, strict=True)]
    scores = _concatenated([some for some, _ in rough])  # (Q, rows)
    if coarse:
        lower = upper = scores
    else:
        bounds = _concatenated([bound for _, bound in rough])
        lower, upper = scores - bounds, scores.add_(bounds)
    cut = lower.topk(count, dim=1).values[:, -1:]  # (Q, 1)
    return [np.flatnonzero(row) for row in (upper >= cut).numpy()]


def _concatenated(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Concatenate the scores of all shards to (Q, rows), without a copy if there is only one."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def _by_index(queries: np.ndarray, shards: Sequence[Shard], starts: np.ndarray, allowed: Sequence[np.ndarray],
              request: SearchRequest, index: Index) -> list[np.ndarray]:  # fmt: skip
    """Like `_by_codes`, but rows in the index are preselected by the index."""
    covered = int(np.searchsorted(starts, index.entry.rows))  # shards
    units, _ = directions(queries)
    count = max(request.k, request.candidates)
    near = index.candidates(units, count, request.nprobe, np.concatenate(allowed[:covered]))
    beside: dict[int, np.ndarray] = {number: allowed[number] for number in range(covered, len(shards))}
    for number, others in enumerate(index.others(shards[:covered])):
        if others is not None:
            beside[number] = allowed[number] & others
    if not beside:
        return near
    more = _by_codes(queries, [shards[number] for number in beside], list(beside.values()), request, 0)
    positions = np.concatenate([np.arange(starts[number], starts[number + 1]) for number in beside])
    return [np.sort(np.concatenate([some, positions[few]])) for some, few in zip(near, more, strict=True)]


def _approximate(queries: np.ndarray, shard: Shard, chosen: np.ndarray) -> Products:
    """Return approximate scores (Q, N), -inf for rows that are not allowed, and bounds (Q, N) on their errors."""
    dim = queries.shape[1]
    count = np.count_nonzero(chosen)
    codes, steps = shard.codes[:, :dim], shard.steps[:dim]
    numbers = [shard.row_numbers(name) for name in ("scale", "slack", "reach")]
    if count == len(shard):
        return products(queries, codes, steps, *numbers)
    positions = torch.from_numpy(np.flatnonzero(chosen))
    if count * _SPARSE >= len(shard):
        scores, bounds = products(queries, codes, steps, *numbers)
        return scores.masked_fill_(torch.from_numpy(~chosen), -torch.inf), bounds
    some, some_bounds = products(queries, codes[positions], steps, *(one[positions] for one in numbers))
    scores, bounds = torch.full((len(queries), len(shard)), -torch.inf), torch.zeros(len(queries), len(shard))
    scores[:, positions], bounds[:, positions] = some, some_bounds
    return scores, bounds


def _cosines(scores: torch.Tensor, bounds: torch.Tensor, length: torch.Tensor) -> Products:
    """Convert the scores (Q, N) of unit queries to cosines by the lengths (N,) of the rows, and their bounds too."""
    usual = length > _SHORT
    scores = torch.where(usual, scores / length, scores)
    return scores, torch.where(usual, bounds / length + 4 * ROUNDING, torch.where(length > 0, torch.inf, bounds))


def _score(query: np.ndarray, shards: Sequence[Shard], starts: np.ndarray, positions: np.ndarray,
           request: SearchRequest) -> Ranked:  # fmt: skip
    """Score the rows at some ascending positions by their full vectors, and return the best."""
    cuts = np.searchsorted(positions, starts)
    held = [i for i in range(len(shards)) if cuts[i] < cuts[i + 1]]
    if not held:
        return np.empty(0, np.float64), np.empty(0, np.int64)
    rows = (shards[i].vectors(positions[cuts[i] : cuts[i + 1]] - starts[i]) for i in held)
    score = cosines if request.cosine else row_scores
    scores = np.concatenate([score(some, query) for some in rows])
    best = np.argsort(-scores, kind="stable")[: request.k]
    return scores[best], positions[best]
