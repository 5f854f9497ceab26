"""Rows and vectors for the tests of the contract of vector stores, with a slow search to compare against."""

import random

import numpy as np

from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery.metadata import make_row
from tbps.gallery.open_store import open_store
from tbps.gallery.store import Layout, Row

WIDTH = 16
MODEL = ModelIdentity("a model", "0" * 32, WIDTH)
LAYOUT = Layout("float32", 8, 2, 4)
CAMERAS = [None, 3, 3.0, "3", "north", 'a "quoted" one', "it's", "back\\slash", "Straße 7 🎥", '"] or id != "', ""]
TIMES = [None, 0, -12.5, 1700000000.123, 1700000000.124, "2026-05-01T14:30:00+00:00", 7e9]
VALUES = [True, False, 1, 0, 1.0, "1", "true", "é\n\"'\\", None, [1], {"deep": {"er": 1}}, 2**53 + 1, float(2**53), 0.1]
NAMES = ["colour", 'na"me', "naïve 名", "back\\slash", ""]


def random_rows(count: int, first: int = 0) -> list[Row]:
    rng = random.Random(first)
    rows = []
    for number in range(first, first + count):
        metadata = {name: rng.choice(VALUES) for name in NAMES if rng.random() < 0.7}
        metadata |= {"camera": rng.choice(CAMERAS), "timestamp": rng.choice(TIMES)}
        metadata |= {"source": rng.choice(["a.mp4", "b's.mp4"])} if rng.random() < 0.7 else {}
        rows.append(make_row(f"{number:032x}", rng.choice([None, f"/images/ü {number}.png"]), metadata))
    return rows


def unit_vectors(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


ROWS = random_rows(150)
VECTORS = unit_vectors(30)[np.random.default_rng(1).integers(0, 30, 150)]  # each about five times
REMOVED = {3, 4, 77, 149}
KEPT = [place for place in range(150) if place not in REMOVED]
QUERIES = unit_vectors(3, seed=2) * 1.2


def open_place(place, model=MODEL):
    return open_store(place.where, model, LAYOUT, place.token)


def fill(store) -> None:
    """Append the rows in three commits, with removals between and after."""
    with store.writing():
        store.append(ROWS[:60], VECTORS[:60])
        store.append(ROWS[60:61], VECTORS[60:61])
        assert store.remove({ROWS[3].id, ROWS[4].id, "not there", 'x" or id != "'}) == 2
        store.append(ROWS[61:], VECTORS[61:])
        assert store.remove([ROWS[77].id, ROWS[149].id, ROWS[3].id]) == 2
        assert store.remove([]) == 0


def best(query: np.ndarray, k: int, fits=lambda row: True) -> list[int]:
    """The slow reference: the positions of the best rows; equal scores are ordered by position."""
    places = [place for place in KEPT if fits(ROWS[place])]
    scores = (VECTORS[places] * query).sum(axis=1)
    return [places[i] for i in np.argsort(-scores, kind="stable")[:k]]


def assert_found(found, query: np.ndarray, places: list[int]) -> None:
    assert [one.row for one in found] == [ROWS[place] for place in places]
    np.testing.assert_allclose([one.score for one in found], VECTORS[places] @ query, atol=2e-6)
    for one, place in zip(found, places, strict=True):
        np.testing.assert_array_equal(one.vector, VECTORS[place])
