"""Exact search by inner product over vectors that do not fit into memory."""

from collections.abc import Iterable, Iterator

import numpy as np

_CHUNK_ROWS = 8192


def exact_top_k(
    queries: np.ndarray, vectors: Iterable[np.ndarray], k: int, chunk_rows: int = _CHUNK_ROWS
) -> list[tuple[np.ndarray, np.ndarray]]:
    """
    The k best rows for each query.

    Args:
        queries: (Q, E) float32. A few hundred at a time: the scores of all against one chunk are held at once.
        vectors: consecutive pieces (n, E) of the gallery, of any lengths.
        k: at most the number of rows in all.
        chunk_rows: how many rows are scored at once.

    Returns:
        For each query the scores (k,) in descending order and the row numbers (k,); among equal scores the row that
        was inserted first comes first.
    """
    best = [(np.empty(0, np.float32), np.empty(0, np.int64)) for _ in queries]
    first_row = 0
    for chunk in _chunks(vectors, chunk_rows):
        scores = queries @ chunk.T  # (Q, n)
        best = [_merge(*kept, row, first_row, k) for kept, row in zip(best, scores, strict=True)]
        first_row += len(chunk)
    return best


def _chunks(vectors: Iterable[np.ndarray], chunk_rows: int) -> Iterator[np.ndarray]:
    for piece in vectors:
        for start in range(0, len(piece), chunk_rows):
            yield piece[start : start + chunk_rows]


def _merge(
    best_scores: np.ndarray, best_rows: np.ndarray, scores: np.ndarray, first_row: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of those kept so far, in order, and of a chunk's `scores` (n,)."""
    # a later row must be better than the last one kept, not as good
    new = np.flatnonzero(scores > best_scores[-1]) if len(best_scores) == k else np.arange(len(scores))
    if len(new) > k:  # sorting all of the first chunk would cost more than scoring it
        threshold = np.partition(scores[new], len(new) - k)[len(new) - k]
        new = new[scores[new] >= threshold]
    merged_scores = np.concatenate([best_scores, scores[new]])
    merged_rows = np.concatenate([best_rows, first_row + new])
    order = np.argsort(-merged_scores, kind="stable")[:k]
    return merged_scores[order], merged_rows[order]
