"""Search by 8-bit codes and whole vectors against a slow reference: a full sort of all scores."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.fingerprint import ModelIdentity
from tbps.gallery.codes import products, quantise
from tbps.gallery.home import Row, Wanted
from tbps.gallery.manifest import Layout
from tbps.gallery.ranking import rank
from tbps.gallery.store import Store


def make_store(directory, vectors, cuts=(), dtype="float32"):
    dim = vectors.shape[1]
    store = Store.open(directory, ModelIdentity("m", "f", dim), Layout(dtype, dim // 2, 1, dim - dim // 2))
    with store.writing():
        for piece in np.split(np.arange(len(vectors)), cuts):
            store.append([Row(str(n), None, "{}") for n in piece], vectors[piece])
    return store


def numbers(found):
    return [[int(one.row.id) for one in row] for row in found]


@st.composite
def search_problems(draw):
    """Small whole numbers, so that every score is exact and ties abound; shards of any lengths, some rows left out."""
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=6))
    levels = draw(st.sampled_from([0, 1, 5, 1000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    vectors = rng.integers(-levels, levels + 1, (sum(lengths), 3)).astype(np.float32)
    queries = rng.integers(-2, 3, (draw(st.integers(1, 4)), 3)).astype(np.float32)
    allowed = rng.random(len(vectors)) < draw(st.sampled_from([0, 0.1, 0.5, 1]))
    return queries, vectors, np.cumsum(lengths)[:-1], allowed, draw(st.integers(1, sum(lengths)))


@settings(max_examples=80, deadline=None)
@given(search_problems())
def test_equals_a_full_sort(tmp_path_factory, problem):
    queries, vectors, cuts, allowed, k = problem
    store = make_store(tmp_path_factory.mktemp("store"), vectors, cuts)
    found = rank(queries, store._shards, np.split(allowed, cuts), Wanted(k), 1)
    for query, (scores, places) in zip(queries, found, strict=True):
        all_scores = [float(sum(a * b for a, b in zip(query, row, strict=True))) for row in vectors]
        expected = sorted(np.flatnonzero(allowed), key=lambda row: (-all_scores[row], row))[:k]
        assert places.tolist() == expected
        assert scores.tolist() == [all_scores[row] for row in expected]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_finds_the_same_in_random_vectors_as_they_are_stored(tmp_path, dtype):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((1000, 48)).astype(np.float32)
    queries = rng.standard_normal((5, 48)).astype(np.float32)
    store = make_store(tmp_path / "store", vectors, [130, 700], dtype)
    stored = np.concatenate([matrix for _, matrix in store.scan()])
    np.testing.assert_allclose(stored, vectors, atol={"float32": 0, "float16": 2e-3, "int8": 2e-2}[dtype])
    expected = np.argsort(-(queries @ stored.T), axis=1)[:, :10]
    np.testing.assert_array_equal(numbers(store.search(queries, Wanted(10))), expected)


def test_codes_alone_would_not_be_exact(tmp_path):
    """The rows that the bound lets through matter: with codes some of these queries end elsewhere."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((2000, 8)).astype(np.float32)
    queries = rng.standard_normal((50, 8)).astype(np.float32)
    store = make_store(tmp_path / "store", vectors)
    expected = np.argsort(-(queries @ vectors.T), axis=1)[:, :20]
    np.testing.assert_array_equal(numbers(store.search(queries, Wanted(20))), expected)
    assert numbers(store.search(queries, Wanted(20, "int8", 20))) != expected.tolist()
    np.testing.assert_array_equal(numbers(store.search(queries, Wanted(20, "int8", 100))), expected)


def test_the_prefix_alone_decides_who_is_a_candidate(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((500, 16)).astype(np.float32)
    query = rng.standard_normal((1, 16)).astype(np.float32)
    store = make_store(tmp_path / "store", vectors)
    coarse = np.argsort(-(query[:, :8] @ vectors[:, :8].T), axis=1)[0, :50]
    fine = coarse[np.argsort(-(vectors[coarse] @ query[0]))][:5]
    found = numbers(store.search(query, Wanted(5, "prefix", 50)))[0]
    assert len(set(found) & set(fine.tolist())) >= 4, "but for rounding to codes at the 50th place"
    assert numbers(store.search(query, Wanted(5, "prefix", 500))) == numbers(store.search(query, Wanted(5)))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(2, 33), st.integers(0, 2**32 - 1))
def test_the_bounds_on_the_error_of_codes_hold(queries, rows, dim, seed):
    rng = np.random.default_rng(seed)
    vectors = (rng.standard_normal((rows, dim)) * 10.0 ** rng.integers(-6, 6, dim)).astype(np.float32)
    asked = rng.standard_normal((queries, dim)).astype(np.float32)
    codes = quantise(vectors)
    decoded = codes.numbers * codes.steps.astype(np.float64)
    assert np.linalg.norm(vectors - decoded, axis=1).max() <= codes.slack + 1e-6 * np.abs(vectors).max()
    found, bound = products(asked, torch.from_numpy(codes.numbers), codes.steps, codes.reach)
    exact = asked.astype(np.float64) @ decoded.T
    rounding = 1e-5 * (np.abs(asked) @ np.abs(decoded).T)
    assert (np.abs(found.numpy() - exact) <= bound[:, None] * (1 + 1e-5) + rounding).all()


def test_the_bound_leaves_few_rows_to_score_in_full(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store = make_store(tmp_path / "store", vectors)
    scored = []
    monkeypatch.setattr("tbps.gallery.ranking.row_scores", lambda rows, query: scored.append(len(rows)) or rows @ query)
    store.search(vectors[:5], Wanted(10))
    assert len(scored) == 5
    assert max(scored) < 150
