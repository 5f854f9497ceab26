"""The approximate index: what it finds, what it must not miss, and what happens to it."""

import json
from pathlib import Path

import forging
import numpy as np
import pytest
from test_gallery_ranking import make_store, numbers

from tbps.gallery import Filter, GalleryError
from tbps.gallery.blocks import block_checksums
from tbps.gallery.home import Row, Wanted
from tbps.gallery.store import Store

RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((20, 32))
VECTORS = (CENTRES[RNG.integers(0, 20, 2000)] + 0.5 * RNG.standard_normal((2000, 32))).astype(np.float32)
QUERIES = (CENTRES[:10] + 0.5 * RNG.standard_normal((10, 32))).astype(np.float32)
BY_INDEX = Wanted(5, "index", candidates=50)


@pytest.fixture
def store(tmp_path):
    store = make_store(tmp_path / "store", VECTORS, [300, 1200])
    with store.writing():
        store.build_index(lists=20, progress=False)
    return store


def best(vectors, k=5):
    return np.argsort(-(QUERIES @ vectors.T), axis=1)[:, :k]


def recall(found, expected):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, expected.tolist(), strict=True)])


def test_all_lists_give_what_an_exact_search_gives(store):
    found = store.search(QUERIES, Wanted(5, "index", candidates=100, probes=20))
    np.testing.assert_array_equal(numbers(found), best(VECTORS))
    expected = [one.score for one in store.search(QUERIES[:1], Wanted(5))[0]]
    assert [one.score for one in found[0]] == pytest.approx(expected, abs=1e-4)


def test_few_lists_find_most(store):
    assert recall(numbers(store.search(QUERIES, Wanted(5, "index", 50, probes=3))), best(VECTORS)) >= 0.9
    few = recall(numbers(store.search(QUERIES, Wanted(5, "index", 50, probes=1))), best(VECTORS))
    assert 0.3 < few < 1, "it does read but a part"


def test_what_was_removed_is_not_a_candidate(store):
    gone = {str(n) for n in best(VECTORS, 1).ravel()}
    with store.writing():
        store.remove(gone)
    found = store.search(QUERIES, Wanted(5, "index", 100, probes=20))
    assert not gone & {one.row.id for row in found for one in row}
    assert numbers(found) == numbers(store.search(QUERIES, Wanted(5)))


def test_replaced_rows_are_found_once_and_as_what_they_are_now(store):
    places = np.unique(best(VECTORS, 1))
    with store.writing():
        store.replace([Row(str(n), f"/moved/{n}", "{}") for n in places])
    found = store.search(QUERIES, Wanted(5, "index", 100, probes=20))
    assert [sorted(row) for row in numbers(found)] == [sorted(row) for row in best(VECTORS).tolist()]
    moved = {one.row.id: one.row.path for row in found for one in row}
    assert {n: path for n, path in moved.items() if path} == {str(n): f"/moved/{n}" for n in places}


def test_rows_added_later_are_searched_beside_the_index(store):
    with store.writing():
        store.append([Row(str(2000 + n), None, "{}") for n in range(10)], 2 * QUERIES)
    for n, row in enumerate(numbers(store.search(QUERIES, BY_INDEX))):
        assert 2000 + n in row
    assert all(len(row) == 5 for row in store.search(QUERIES, BY_INDEX))


def test_a_filter_is_never_left_to_the_index(store):
    with store.writing():
        store.append([Row("far", None, "{}", camera="7")], -QUERIES[:1])
        store.build_index(lists=20, progress=False)
    found = store.search(QUERIES[:1], Wanted(1, "index", 1, probes=1, filter=Filter(camera=7)))
    assert [one.row.id for one in found[0]] == ["far"]


def test_it_lasts_and_is_replaced_and_goes_with_a_compaction(store, tmp_path):
    opened = Store.read(tmp_path / "store")
    assert numbers(opened.search(QUERIES, BY_INDEX)) == numbers(store.search(QUERIES, BY_INDEX))
    [first] = (tmp_path / "store").glob("index-*")
    with opened.writing():
        opened.build_index(progress=False)
    [second] = (tmp_path / "store").glob("index-*")
    assert first != second
    with opened.writing():
        opened.compact(1000, progress=False)
    assert not list((tmp_path / "store").glob("index-*"))
    with pytest.raises(GalleryError, match="has no index"):
        opened.search(QUERIES, BY_INDEX)
    assert len(store.search(QUERIES, BY_INDEX)[0]) == 5, "who has the old files open goes on"


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def forge(path):
    """Bytes that are no index, as long as those that were there, with the right checksums."""
    path.write_bytes(bytes(path.stat().st_size))
    content = json.loads((path.parent / "gallery.json").read_text())
    content["index"]["checksums"] = block_checksums(path.read_bytes())
    forging.forge(path.parent, content)


def forge_lists(path):
    """Fewer lists than there are."""
    content = json.loads((path.parent / "gallery.json").read_text())
    content["index"]["lists"] = 19
    forging.forge(path.parent, content)


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink, replace_by_folder, forge, forge_lists])
def test_an_index_that_cannot_be_used_is_passed_over_and_made_again(store, tmp_path, caplog, damage):
    [path] = (tmp_path / "store").glob("index-*")
    damage(path)
    opened = Store.read(tmp_path / "store")
    for _ in range(3):
        np.testing.assert_array_equal(numbers(opened.search(QUERIES, BY_INDEX)), best(VECTORS))
    [warning] = caplog.messages
    assert path.name in warning
    assert "exact" in warning
    with opened.writing():
        opened.remove(["7"])
        opened.append([Row("new", None, "{}")], VECTORS[:1])
        opened.build_index(lists=20, progress=False)
    caplog.clear()
    again = Store.read(tmp_path / "store")
    assert recall(numbers(again.search(QUERIES, BY_INDEX)), best(VECTORS)) > 0.5
    again.check(progress=False)
    assert not caplog.messages


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_a_check_names_an_index_that_cannot_be_used(store, tmp_path, damage):
    [path] = (tmp_path / "store").glob("index-*")
    damage(path)
    with pytest.raises(GalleryError, match=path.name):
        Store.read(tmp_path / "store").check(progress=False)


def test_an_empty_gallery_has_nothing_to_index(tmp_path):
    store = make_store(tmp_path / "store", VECTORS[:5])
    with store.writing():
        store.remove([str(n) for n in range(5)])
        store.compact(10, progress=False)
        with pytest.raises(GalleryError, match="is empty"):
            store.build_index(progress=False)
