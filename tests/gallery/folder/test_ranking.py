"""Search by 8-bit codes and full vectors, against a slow reference that sorts all scores."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from handmade_gallery import found_numbers, make_store
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.gallery import GalleryError
from tbps.gallery.copy import copy_rows
from tbps.gallery.folder.int8 import learn_steps, products, quantise
from tbps.gallery.folder.search import rank
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.search import same_person
from tbps.gallery.store import Row, SearchRequest
from tbps.gallery.vectors import directions


@st.composite
def search_problems(draw):
    """Small integers, so that scores are exact and often equal; shards of any length, and rows that are not allowed."""
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
    found = rank(queries, store.snapshot().shards, np.split(allowed, cuts), SearchRequest(k), 1)
    for query, (scores, places) in zip(queries, found, strict=True):
        all_scores = [float(sum(a * b for a, b in zip(query, row, strict=True))) for row in vectors]
        expected = sorted(np.flatnonzero(allowed), key=lambda row: (-all_scores[row], row))[:k]
        assert places.tolist() == expected
        assert scores.tolist() == [all_scores[row] for row in expected]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_finds_the_best_stored_vectors_in_every_dtype(tmp_path, dtype):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((1000, 48)).astype(np.float32)
    queries = rng.standard_normal((5, 48)).astype(np.float32)
    store = make_store(tmp_path / "store", vectors, [130, 700], dtype)
    stored = np.concatenate([matrix for _, matrix in store.scan()])
    np.testing.assert_allclose(stored, vectors, atol={"float32": 0, "float16": 2e-3, "int8": 2e-2}[dtype])
    expected = np.argsort(-(queries @ stored.T), axis=1)[:, :10]
    np.testing.assert_array_equal(found_numbers(store.search(queries, SearchRequest(10))), expected)


def test_codes_alone_would_not_be_exact(tmp_path):
    """The rows that the bound adds are needed: ranking by codes alone gives other results for some queries."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((2000, 8)).astype(np.float32)
    queries = rng.standard_normal((50, 8)).astype(np.float32)
    store = make_store(tmp_path / "store", vectors)
    expected = np.argsort(-(queries @ vectors.T), axis=1)[:, :20]
    np.testing.assert_array_equal(found_numbers(store.search(queries, SearchRequest(20))), expected)
    assert found_numbers(store.search(queries, SearchRequest(20, "int8", 20))) != expected.tolist()
    np.testing.assert_array_equal(found_numbers(store.search(queries, SearchRequest(20, "int8", 100))), expected)


def test_only_the_prefix_decides_which_rows_are_candidates(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((500, 16)).astype(np.float32)
    query = rng.standard_normal((1, 16)).astype(np.float32)
    store = make_store(tmp_path / "store", vectors)
    coarse = np.argsort(-(query[:, :8] @ vectors[:, :8].T), axis=1)[0, :50]
    fine = coarse[np.argsort(-(vectors[coarse] @ query[0]))][:5]
    found = found_numbers(store.search(query, SearchRequest(5, "global", 50)))[0]
    assert len(set(found) & set(fine.tolist())) >= 4, "but for rounding to codes at the 50th place"
    assert found_numbers(store.search(query, SearchRequest(5, "global", 500))) == found_numbers(
        store.search(query, SearchRequest(5))
    )


@st.composite
def vectors_of_any_lengths(draw, most=20):
    """Vectors of length 1e-20 to 1e20, zero, equal or constant, and dimensions of very different size."""
    rows, dim = draw(st.integers(1, 60)), draw(st.integers(2, 33))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0, 1, 3, most]))
    vectors = rng.standard_normal((rows, dim)) * 10.0 ** rng.integers(-spread, spread + 1, (rows, 1))
    vectors *= 10.0 ** rng.integers(-draw(st.sampled_from([0, 1, 3])), 1, dim)
    vectors[rng.random(rows) < draw(st.sampled_from([0, 0.2]))] = 0
    lonely = rng.random(rows) < draw(st.sampled_from([0, 0.2]))
    vectors[lonely] *= np.arange(dim) == rng.integers(dim)
    vectors[rng.random(rows) < draw(st.sampled_from([0, 0.2]))] = vectors[0]
    return vectors.astype(np.float32), rng


@settings(max_examples=90, deadline=None)
@given(vectors_of_any_lengths())
def test_the_bounds_on_the_error_of_codes_hold(problem):
    vectors, rng = problem
    asked, _ = directions(rng.standard_normal((4, vectors.shape[1])))
    half = len(vectors) // 2
    whole = quantise(vectors)
    later = quantise(vectors[half:], whole.steps)
    alone = whole.instead_of_vectors()
    for codes, meant in ((whole, vectors), (later, vectors[half:]), (alone, alone.vectors())):
        exact = meant.astype(np.float64)
        numbers = (torch.from_numpy(getattr(codes, name)) for name in ("scale", "slack", "reach"))
        found, bound = products(asked, torch.from_numpy(codes.numbers), codes.steps, *numbers)
        assert (np.abs(found.double().numpy() - asked @ exact.T) <= bound.double().numpy()).all()
        assert (np.linalg.norm(exact, axis=1) <= codes.length).all()
    assert (alone.slack <= 2e-6 * alone.length + 1e-37).all()


@settings(max_examples=90, deadline=None)
@given(vectors_of_any_lengths(), st.sampled_from(["float32", "float16", "int8"]), st.data())
def test_exact_is_exact_for_vectors_of_any_lengths(tmp_path_factory, problem, dtype, data):
    """Compare with a float64 product of the stored vectors, with several shards, excluded rows and removed rows."""
    vectors, rng = problem
    if dtype == "float16":
        vectors = np.clip(vectors, -6e4, 6e4)
        vectors[np.linalg.norm(vectors, axis=1) < 1e-3] = 0
    cuts = np.sort(rng.integers(1, len(vectors), 2)) if len(vectors) > 3 else []
    store = make_store(tmp_path_factory.mktemp("store"), vectors, np.unique(cuts), dtype)
    stored = np.concatenate([matrix for _, matrix in store.scan()]).astype(np.float64)
    gone = rng.random(len(vectors)) < data.draw(st.sampled_from([0, 0.3]))
    excluded = ~gone & (rng.random(len(vectors)) < data.draw(st.sampled_from([0, 0.3, 0.9])))
    with store.writing():
        store.remove([str(place) for place in np.flatnonzero(gone)])
    queries = rng.standard_normal((3, vectors.shape[1])) * 10.0 ** data.draw(st.sampled_from([-20, 0, 15]))
    queries = queries.astype(np.float32)
    left = np.flatnonzero(~gone & ~excluded)
    k = data.draw(st.integers(1, len(vectors)))
    for mode in ("exact", "int8", "global"):  # all rows are candidates
        request = SearchRequest(k, mode, len(vectors), excluded=frozenset(map(str, np.flatnonzero(excluded))))
        for query, found in zip(queries, store.search(queries, request), strict=True):
            assert_best(query.astype(np.float64), stored, left, k, found)


def assert_best(query, stored, left, k, found):
    """Check the order of the plain product up to its rounding. Equal scores are ordered by position."""
    scores = stored @ query
    assert len(found) == min(k, len(left))
    assert [one.score for one in found] == pytest.approx(np.sort(scores[left])[::-1][:k].tolist(), rel=1e-9, abs=0)
    for one in found:
        np.testing.assert_array_equal(one.vector, stored[int(one.row.id)])
        np.testing.assert_allclose(one.score, scores[int(one.row.id)], rtol=1e-9)
    for before, after in pairwise(found):
        assert before.score > after.score or int(before.row.id) < int(after.row.id)


@settings(max_examples=60, deadline=None)
@given(vectors_of_any_lengths(), st.sampled_from(["float32", "int8"]), st.data())
def test_similarity_is_the_cosine_for_vectors_of_any_length(tmp_path_factory, problem, dtype, data):
    vectors, rng = problem
    store = make_store(
        tmp_path_factory.mktemp("store"), vectors, [len(vectors) // 2] if len(vectors) > 1 else [], dtype
    )
    stored = np.concatenate([matrix for _, matrix in store.scan()])
    unit, _ = directions(stored.astype(np.float64))
    place, level = int(rng.integers(len(vectors))), data.draw(st.sampled_from([-1, 0.1, 0.5, 0.9, 1]))
    cosines = unit @ unit[place]
    alike = same_person(store.snapshot(), [str(place)], level)
    assert str(place) in alike
    for other in np.flatnonzero(np.abs(cosines - level) > 1e-7):
        assert (str(other) in alike) == (cosines[other] > level) or other == place
    [found] = store.search(stored[place : place + 1], SearchRequest(len(vectors), cosine=True))
    np.testing.assert_allclose([one.score for one in found], np.sort(cosines)[::-1], atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("longer", [1, 100, 10000])
def test_a_very_long_vector_hides_no_other_row(tmp_path, dtype, longer):
    rng = np.random.default_rng(0)
    vectors, _ = directions(rng.standard_normal((2000, 32)))
    vectors[7] *= longer
    store = make_store(tmp_path / "store", vectors.astype(np.float32), [1000], dtype)
    queries, _ = directions(rng.standard_normal((20, 32)))
    expected = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    for mode in ("exact", "int8"):
        found = found_numbers(store.search(queries.astype(np.float32), SearchRequest(10, mode, 100)))
        recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, expected.tolist(), strict=True)])
        assert recall >= (0.93 if dtype == "int8" else 0.99)


@settings(max_examples=100, deadline=None)
@given(vectors_of_any_lengths())
def test_encoding_decoded_vectors_gives_the_same_codes(problem):
    vectors, _ = problem
    first = quantise(vectors)
    again = quantise(first.vectors(), first.steps)
    np.testing.assert_array_equal(again.numbers, first.numbers)
    np.testing.assert_array_equal(again.vectors(), first.vectors())


def test_copies_of_copies_keep_the_codes(tmp_path):
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((300, 24)) * np.exp(rng.standard_normal(24))).astype(np.float32)
    first = last = make_store(tmp_path / "0", vectors, [50], "int8")
    for number in range(1, 6):
        copy = FolderStore.open(tmp_path / str(number), first.model, first.layout)
        copy_rows(last, copy, progress=False)
        last = copy
    for one, other in zip(first.scan(), last.scan(), strict=True):
        assert one[0] == other[0]
        np.testing.assert_array_equal(one[1], other[1])


def test_few_rows_give_nearly_equal_steps():
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((5000, 16)) * np.where(np.arange(16) == 3, 10, 1)).astype(np.float32)
    assert np.abs(learn_steps(vectors[:1]) - 1).max() < 0.1
    many = learn_steps(vectors)
    assert many[3] / np.median(many) > 2
    vectors[11] *= 1e6
    np.testing.assert_allclose(learn_steps(vectors), many, rtol=1e-5)
    np.testing.assert_array_equal(learn_steps(np.zeros((3, 4), np.float32)), np.ones(4, np.float32))


@pytest.mark.parametrize(
    ("dtype", "number", "message"),
    [
        ("float32", np.nan, "has the length nan"),
        ("float32", -np.inf, "has the length nan"),
        ("int8", 3e38, r"1e\+30"),
        ("float16", 7e4, "does not fit into float16.*7e"),
        ("float16", 1e-9, "does not fit into float16"),
    ],
)
def test_a_vector_that_cannot_be_stored_is_refused_by_name(tmp_path, dtype, number, message):
    store = make_store(tmp_path / "store", np.ones((3, 4), np.float32), dtype=dtype)
    rows = [Row("good", None, "{}"), Row("bad", "cam/7.jpg", "{}")]
    vectors = np.array([np.ones(4), np.full(4, number)], np.float32)
    with store.writing(), pytest.raises(GalleryError, match=rf"cam/7\.jpg \(image bad\).*{message}"):
        store.append(rows, vectors)
    assert store.count() == 3


def test_the_bound_leaves_few_rows_to_score_by_their_vectors(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store = make_store(tmp_path / "store", vectors)
    scored = []
    monkeypatch.setattr("tbps.gallery.folder.search.row_scores", lambda a, query: scored.append(len(a)) or a @ query)
    store.search(vectors[:5], SearchRequest(10))
    assert len(scored) == 5
    assert max(scored) < 150
