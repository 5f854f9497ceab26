"""Scores of whole vectors."""

import numpy as np


def row_scores(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The inner products (n,) of vectors (n, E) with a query (E,), each summed alone: a matrix product may give equal
    rows scores that differ in the last bit, and their order would no longer be that of insertion."""
    return (vectors * query).sum(axis=1)
