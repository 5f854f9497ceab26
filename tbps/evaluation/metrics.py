"""Metrics of text-based person search: rank-k, mAP and mINP from scores and person ids.

Protocol: every query (a caption) ranks the whole gallery (images); a match is a gallery image of the query's person.
With m matches of a query at ranks r_1 < ... < r_m, counted from 1:

- rank_k: fraction of the queries with r_1 <= k.
- mAP: mean over queries of AP = (1/m) sum_j j / r_j.
- mINP: mean over queries of INP = m / r_m (Ye et al., "Deep Learning for Person Re-identification", TPAMI 2021).

Ties count against the model: an image of another person with the same score as a match is ranked before it. A model
that gives all images the same score therefore gets the worst ranks, and the order of the gallery does not matter.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

DEFAULT_RANKS = (1, 5, 10)
METRICS = (*(f"rank_{k}" for k in DEFAULT_RANKS), "mAP", "mINP")  # names of the results
FEW_MATCHES = 32  # up to here, counting is faster than sorting, measured on 20,000 scores
QUERIES_AT_A_TIME = 64  # per thread; handing over single queries takes about as long as ranking them
SHOWN = 5  # queries that an error names


class RetrievalMetrics:
    """Accumulates metrics over chunks of queries, so that the full score matrix never has to exist.

    Args:
        gallery_person_ids: person ids of the gallery, (G,) integers.
        ranks: the k of every `rank_k` to report.

    Raises:
        ValueError: the gallery is empty, the ids are not a vector of integers, or a rank is below 1.
    """

    def __init__(self, gallery_person_ids: Tensor | Sequence[int], ranks: Sequence[int] = DEFAULT_RANKS) -> None:
        self.gallery_person_ids = id_vector(gallery_person_ids, "gallery_person_ids")
        self.ranks = tuple(ranks)
        if not len(self.gallery_person_ids):
            raise ValueError("gallery_person_ids is empty: expected the person id of at least one gallery image.")
        if not all(isinstance(k, int) and k >= 1 for k in self.ranks):
            raise ValueError(f"ranks is {self.ranks}: ranks count from 1, expected positive integers.")
        self._places = positions(self.gallery_person_ids.cpu().numpy())
        self._num_queries = 0
        self._first_ranks: list[int] = []  # of every query
        self._average_precisions: list[float] = []
        self._inverse_negative_penalties: list[float] = []

    def update(self, scores: Tensor, query_person_ids: Tensor | Sequence[int]) -> None:
        """Add queries: `scores` (q, G), higher is more similar, and the person id of each query, (q,) integers.

        Raises:
            ValueError: the shapes disagree, a score is NaN or infinite, or a query has no match in the gallery.
        """
        query_person_ids = id_vector(query_person_ids, "query_person_ids").cpu()
        expected = (len(query_person_ids), len(self.gallery_person_ids))
        if tuple(scores.shape) != expected:
            raise ValueError(
                f"scores has shape {tuple(scores.shape)}: expected (queries, gallery) = {expected} "
                "from the lengths of query_person_ids and gallery_person_ids."
            )
        if not len(query_person_ids):
            return
        self._check_finite(scores)
        self._check_matched(query_person_ids)

        rows, people = as_numpy(scores), query_person_ids.tolist()

        def ranks_of(start: int) -> list[np.ndarray]:
            stop = start + QUERIES_AT_A_TIME
            pairs = zip(rows[start:stop], people[start:stop], strict=True)
            return [match_ranks(row, self._places[person]) for row, person in pairs]

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # NumPy releases the interpreter lock
            for found in pool.map(ranks_of, range(0, len(rows), QUERIES_AT_A_TIME)):
                for ranks in found:
                    self._accumulate(ranks)
        self._num_queries += len(query_person_ids)

    def compute(self) -> dict[str, float]:
        """The metrics over all queries so far, each in [0, 1]: `rank_1 rank_5 rank_10 mAP mINP` by default.

        Raises:
            ValueError: no query has been added.
        """
        if not self._num_queries:
            raise ValueError("no queries: call update() with the scores of at least one query before compute().")
        first_ranks = np.array(self._first_ranks)
        metrics = {f"rank_{k}": float((first_ranks <= k).mean()) for k in self.ranks}
        metrics["mAP"] = float(np.mean(self._average_precisions))
        metrics["mINP"] = float(np.mean(self._inverse_negative_penalties))
        return metrics

    def _accumulate(self, ranks: np.ndarray) -> None:
        """Add a query, given the ranks of its matches (m,), best first."""
        count = len(ranks)
        self._first_ranks.append(int(ranks[0]))
        self._average_precisions.append(float((np.arange(1, count + 1) / ranks).mean()))
        self._inverse_negative_penalties.append(count / int(ranks[-1]))

    def _check_finite(self, scores: Tensor) -> None:
        if scores.sum(dim=1).isfinite().all():  # a sum with a NaN or infinity is not finite; twice as fast
            return
        finite = scores.isfinite()
        if finite.all():
            return
        bad = torch.nonzero(~finite.all(dim=1)).flatten()
        first = int(bad[0])
        image = int(torch.nonzero(~finite[first])[0])
        raise ValueError(
            f"{len(bad)} of {len(scores)} queries have scores that are not finite, the first is query "
            f"{self._num_queries + first}: {scores[first, image].item()} at gallery image {image}. "
            "Expected finite numbers: look for NaN or overflow in the embeddings."
        )

    def _check_matched(self, query_person_ids: Tensor) -> None:
        unmatched = torch.nonzero(~torch.isin(query_person_ids, self.gallery_person_ids.cpu())).flatten().tolist()
        if not unmatched:
            return
        people = query_person_ids.tolist()
        named = ", ".join(f"query {self._num_queries + i} (person {people[i]})" for i in unmatched[:SHOWN])
        more = ", ..." if len(unmatched) > SHOWN else ""
        raise ValueError(
            f"{len(unmatched)} of {len(query_person_ids)} queries have no image of their person in the gallery: "
            f"{named}{more}. "
            "Add these images to the gallery or remove the queries, and check that both use the same person ids."
        )


def positions(ids: np.ndarray) -> dict[int, np.ndarray]:
    """Map each id to its positions, in ascending order."""
    order = np.argsort(ids, kind="stable")
    found, starts = np.unique(ids[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, starts[1:]), strict=True))


def match_ranks(scores: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """Ranks of a query's matches, best first, with ties against the model, without sorting the gallery.

    Args:
        scores: (G,), finite.
        matches: positions of the matches in the gallery, (m,) integers, m >= 1.

    Returns:
        Ranks (m,), counted from 1.
    """
    own = np.sort(scores[matches])  # (m,), worst first
    as_good = _count_by_passes(scores, own) if len(own) <= FEW_MATCHES else _count_by_sorting(scores, own)
    before = as_good - (len(own) - np.searchsorted(own, own))  # images of others that score no less
    return before[::-1] + np.arange(1, len(own) + 1)


def _count_by_passes(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Count the scores (G,) that are not below each of `own` (m,), by comparing all of them.

    One comparison of a row takes a few microseconds, and a sort as long as dozens of them. The steps are few and large,
    as threads wait for the interpreter between small ones.
    """
    as_good = np.packbits(np.less_equal.outer(own, scores), axis=1)
    return np.bitwise_count(as_good).sum(axis=1, dtype=np.int64)


def _count_by_sorting(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Count the same for many matches, `own` ascending, by sorting the scores that are not below the worst match."""
    near = np.sort(scores[scores >= own[0]])
    return len(near) - np.searchsorted(near, own)


def as_numpy(scores: Tensor) -> np.ndarray:
    """Convert scores to NumPy: floats to float32 or more, as NumPy has no bfloat16.

    Integers keep their type, as float32 would make large ones equal.
    """
    kept = scores.to(torch.promote_types(scores.dtype, torch.float32)) if scores.is_floating_point() else scores
    return kept.cpu().numpy()


@torch.no_grad()
def retrieval_metrics(
    query_embeds: Tensor,
    gallery_embeds: Tensor,
    query_person_ids: Tensor | Sequence[int],
    gallery_person_ids: Tensor | Sequence[int],
    *,
    ranks: Sequence[int] = DEFAULT_RANKS,
    max_elements: int = 2**24,
) -> dict[str, float]:
    """Compute metrics from embeddings, with their inner product as the score.

    Args:
        query_embeds: (Q, E). Half precision is converted to float32 before the product, as rounding makes ties.
        gallery_embeds: (G, E).
        query_person_ids: person ids, (Q,) integers.
        gallery_person_ids: person ids, (G,) integers.
        ranks: the k of every `rank_k` to report.
        max_elements: scores held at once, at least those of one query; each needs up to 10 bytes.

    Returns:
        `rank_1 rank_5 rank_10 mAP mINP`, each in [0, 1].

    Raises:
        ValueError: as `RetrievalMetrics`; or the shapes of embeddings and ids disagree.
    """
    query_person_ids = id_vector(query_person_ids, "query_person_ids")
    gallery_person_ids = id_vector(gallery_person_ids, "gallery_person_ids")
    _check_embeddings(query_embeds, gallery_embeds, query_person_ids, gallery_person_ids)
    metrics = RetrievalMetrics(gallery_person_ids, ranks)
    dtype = torch.promote_types(torch.promote_types(query_embeds.dtype, gallery_embeds.dtype), torch.float32)
    gallery = gallery_embeds.to(dtype)
    rows = max(1, max_elements // len(gallery))
    for queries, ids in zip(query_embeds.split(rows), query_person_ids.split(rows), strict=True):
        metrics.update(_products(queries.to(dtype), gallery), ids)
    return metrics.compute()


def _products(queries: Tensor, gallery: Tensor) -> Tensor:
    """Inner products (q, G). A single query is computed twice, as the routine for one vector sums some columns in
    another order, and equal images would get unequal scores."""
    return queries @ gallery.T if len(queries) > 1 else (queries.repeat(2, 1) @ gallery.T)[:1]


def id_vector(ids: Tensor | Sequence[int], name: str) -> Tensor:
    """Convert person ids to a vector of integers, (N,) int64.

    Raises:
        ValueError: they are not integers, or need more than 64 bits.
    """
    try:
        found = ids if isinstance(ids, Tensor) else torch.from_numpy(np.asarray(ids))
        wrong = found.is_floating_point() or found.is_complex() or found.dtype == torch.bool
        wrong = wrong or (found.dtype == torch.uint64 and bool((found.long() < 0).any()))
    except TypeError:  # torch cannot hold strings, None, or integers of more than 64 bits
        found, wrong = torch.empty(0), True
    if wrong or found.ndim != 1:
        kind = f"{found.dtype} of shape {tuple(found.shape)}" if found.numel() else f"{ids!r:.80}"
        raise ValueError(f"{name} is {kind}: expected a vector of integer person ids below 2**63.")
    return found.long()


def _check_embeddings(
    query_embeds: Tensor, gallery_embeds: Tensor, query_person_ids: Tensor, gallery_person_ids: Tensor
) -> None:
    for name, embeds, ids in (
        ("query", query_embeds, query_person_ids),
        ("gallery", gallery_embeds, gallery_person_ids),
    ):
        if embeds.ndim != 2 or ids.ndim != 1 or len(embeds) != len(ids):
            raise ValueError(
                f"{name}_embeds has shape {tuple(embeds.shape)} and {name}_person_ids {tuple(ids.shape)}: "
                "expected (n, E) and (n,), with one embedding and one person id per item."
            )
    if query_embeds.shape[1] != gallery_embeds.shape[1]:
        raise ValueError(
            f"query_embeds has width {query_embeds.shape[1]} and gallery_embeds {gallery_embeds.shape[1]}: "
            "expected the same width. Encode both with the same model."
        )
