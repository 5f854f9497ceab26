"""Scores of whole vectors."""

import numpy as np

_AT_ONCE = 128  # rows: what is computed in between stays in the processor's cache


def row_scores(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The inner products (n,) float64 of vectors (n, E) with a query (E,), each summed alone: a matrix product may give
    equal rows scores that differ in the last bit, and their order would no longer be that of insertion. A product of
    two float32 numbers is exact in float64 and does not overflow there."""
    scores, exact = np.empty(len(vectors), np.float64), query.astype(np.float64)
    for start in range(0, len(vectors), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        scores[part] = np.einsum("ij,j->i", vectors[part].astype(np.float64), exact)
    return scores


def cosines(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The cosines (n,) float64 of the angles between vectors (n, E) and a query (E,); 0 where one of the two is 0."""
    lengths = np.concatenate([
        np.linalg.norm(vectors[start : start + _AT_ONCE].astype(np.float64), axis=1)
        for start in range(0, len(vectors), _AT_ONCE)
    ])  # fmt: skip
    divisor = lengths * np.linalg.norm(query.astype(np.float64))
    return row_scores(vectors, query) / np.where(divisor > 0, divisor, 1)
