"""Exact search against a slow reference: a full sort of all scores."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.gallery.exact import exact_top_k


@st.composite
def search_problems(draw):
    """Small whole numbers, so that every score is exact and ties abound; shards and chunks of any lengths."""
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=6))
    seed = draw(st.integers(0, 2**32 - 1))
    levels = draw(st.sampled_from([0, 1, 5]))
    rng = np.random.default_rng(seed)
    shards = [rng.integers(-levels, levels + 1, (n, 3)).astype(np.float32) for n in lengths]
    queries = rng.integers(-2, 3, (draw(st.integers(1, 4)), 3)).astype(np.float32)
    return queries, shards, draw(st.integers(1, sum(lengths))), draw(st.integers(1, 10))


@settings(max_examples=300, deadline=None)
@given(search_problems())
def test_equals_a_full_sort(problem):
    queries, shards, k, chunk_rows = problem
    everything = np.concatenate(shards)
    for query, (scores, rows) in zip(queries, exact_top_k(queries, shards, k, chunk_rows), strict=True):
        all_scores = [float(sum(a * b for a, b in zip(query, row, strict=True))) for row in everything]
        expected = sorted(range(len(everything)), key=lambda row: (-all_scores[row], row))[:k]
        assert rows.tolist() == expected
        assert scores.tolist() == [all_scores[row] for row in expected]


def test_finds_the_same_in_random_vectors():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((1000, 16)).astype(np.float32)
    queries = rng.standard_normal((3, 16)).astype(np.float32)
    found = exact_top_k(queries, [vectors[:130], vectors[130:]], 10, chunk_rows=64)
    expected = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    np.testing.assert_array_equal(np.stack([rows for _, rows in found]), expected)
