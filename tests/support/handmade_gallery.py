"""Galleries in folders with synthetic rows and vectors, and checks that hold in every state."""

from pathlib import Path

import numpy as np

from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import Layout, Row, SearchRequest

WIDTH = 16
IDENTITY = ModelIdentity("m", "f", WIDTH)
_ANY = np.random.default_rng(0).standard_normal((4096, WIDTH)).astype(np.float32)


def layout(dtype="float32"):
    return Layout(dtype, 8, 2, 4)


def vector(number):
    """Return the vector of a row: a direction of its own, and a length from 0.1 to 10."""
    return _ANY[number % len(_ANY)] * np.float32(10 ** (number % 3 - 1))


def vectors(numbers):
    return np.stack([vector(number) for number in numbers])


def trace(number):
    """Return text that only the metadata of this row contains."""
    return f"secret-of-{number:05d}."


def row(number, state=0):
    metadata = f'{{"of": "{trace(number)}", "state": {state}}}'
    return Row(f"id-{number:05d}", None, metadata, thumbnail=trace(number).encode())


def number_of(one):
    return int(one.id.removeprefix("id-"))


def new_store(directory, dtype="float32"):
    return FolderStore.open(directory, IDENTITY, layout(dtype))


def append(store, numbers):
    store.append([row(number) for number in numbers], vectors(numbers))


def numbers_in(store):
    return [number_of(one) for rows, _ in store.scan() for one in rows]


def make_store(directory, vectors, cuts=(), dtype="float32"):
    """Make a gallery of these vectors with their positions as ids, and a new file at each cut."""
    dim = vectors.shape[1]
    store = FolderStore.open(directory, ModelIdentity("m", "f", dim), Layout(dtype, dim // 2, 1, dim - dim // 2))
    with store.writing():
        for piece in np.split(np.arange(len(vectors)), cuts):
            store.append([Row(str(n), None, "{}") for n in piece], vectors[piece])
    return store


def found_numbers(found):
    """Return the ids that each query found, as numbers."""
    return [[int(one.row.id) for one in row] for row in found]


def content(directory: Path) -> bytes:
    """Return the names and bytes of all files in a folder, joined."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return b"".join(path.name.encode() + path.read_bytes() for path in paths)


def assert_no_trace(directory: Path, number: int) -> None:
    """Check that no file contains the metadata, the thumbnail or the vector of a row."""
    found = content(directory)
    assert trace(number).encode() not in found
    assert row(number).id.encode() not in found
    assert vector(number).tobytes() not in found


def assert_only_its_files(store, directory: Path, *others: str) -> None:
    """Check that the folder holds exactly the files that the manifest names."""
    there = {path.name for path in directory.iterdir()} - {"gallery.json", "gallery.lock", "gallery.copy.json"}
    assert there == store.manifest.files() | set(others)


def assert_finds_what_a_plain_product_finds(store, numbers, k=5) -> None:
    """Compare a search with a plain product over the rows, which are in this order."""
    stored = np.concatenate([found for _, found in store.scan()])
    for query in vectors([7, 1000]):
        scores = stored.astype(np.float64) @ query
        best = np.argsort(-scores, kind="stable")[:k]
        found = store.search(query[None], SearchRequest(min(k, len(numbers))))[0]
        assert [number_of(one.row) for one in found] == [numbers[place] for place in best]
        np.testing.assert_allclose([one.score for one in found], scores[best], rtol=1e-6)
