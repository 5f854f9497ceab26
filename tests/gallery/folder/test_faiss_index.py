"""The approximate index: its recall, when it is used, damage, and replacement."""

import json
from dataclasses import replace
from pathlib import Path

import forging
import numpy as np
import pytest
from damaged_gallery import flip
from handmade_gallery import found_numbers, make_store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tbps.cli.main import main
from tbps.gallery import Filter, GalleryError
from tbps.gallery.folder.checked_file import block_checksums
from tbps.gallery.folder.faiss_index import MIN_ROWS, is_worthwhile
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import Row, SearchRequest
from tbps.gallery.vectors import directions

RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((20, 32))
VECTORS = (CENTRES[RNG.integers(0, 20, 2000)] + 0.5 * RNG.standard_normal((2000, 32))).astype(np.float32)
QUERIES = (CENTRES[:10] + 0.5 * RNG.standard_normal((10, 32))).astype(np.float32)
BY_INDEX = SearchRequest(5, "index", candidates=50)


@pytest.fixture
def store(tmp_path):
    store = make_store(tmp_path / "store", VECTORS, [300, 1200])
    with store.writing():
        store.build_index(nlist=20, progress=False)
    return store


@pytest.fixture
def however_few(monkeypatch):
    """Use the index for galleries of any size and any number of lists."""
    monkeypatch.setattr("tbps.gallery.folder.faiss_index.is_worthwhile", lambda entry, left: True)


def best(vectors, k=5):
    return np.argsort(-(QUERIES @ vectors.T), axis=1)[:, :k]


def recall(found, expected):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, expected.tolist(), strict=True)])


def test_all_lists_give_what_an_exact_search_gives(store):
    found = store.search(QUERIES, SearchRequest(5, "index", candidates=100, nprobe=20))
    np.testing.assert_array_equal(found_numbers(found), best(VECTORS))
    expected = [one.score for one in store.search(QUERIES[:1], SearchRequest(5))[0]]
    assert [one.score for one in found[0]] == pytest.approx(expected, abs=1e-4)


def test_few_lists_find_most(store):
    assert recall(found_numbers(store.search(QUERIES, SearchRequest(5, "index", 50, nprobe=3))), best(VECTORS)) >= 0.9
    few = recall(found_numbers(store.search(QUERIES, SearchRequest(5, "index", 50, nprobe=1))), best(VECTORS))
    assert 0.3 < few < 1, "it does read but a part"


def test_removed_rows_are_not_candidates(store):
    gone = {str(n) for n in best(VECTORS, 1).ravel()}
    with store.writing():
        store.remove(gone)
    found = store.search(QUERIES, SearchRequest(5, "index", 100, nprobe=20))
    assert not gone & {one.row.id for row in found for one in row}
    assert found_numbers(found) == found_numbers(store.search(QUERIES, SearchRequest(5)))


def test_replaced_rows_are_found_once_with_their_new_fields(store):
    places = np.unique(best(VECTORS, 1))
    with store.writing():
        store.replace([Row(str(n), f"/moved/{n}", "{}") for n in places])
    found = store.search(QUERIES, SearchRequest(5, "index", 100, nprobe=20))
    assert [sorted(row) for row in found_numbers(found)] == [sorted(row) for row in best(VECTORS).tolist()]
    moved = {one.row.id: one.row.path for row in found for one in row}
    assert {n: path for n, path in moved.items() if path} == {str(n): f"/moved/{n}" for n in places}


def test_rows_added_later_are_searched_beside_the_index(store):
    with store.writing():
        store.append([Row(str(2000 + n), None, "{}") for n in range(10)], 2 * QUERIES)
    for n, row in enumerate(found_numbers(store.search(QUERIES, BY_INDEX))):
        assert 2000 + n in row
    assert all(len(row) == 5 for row in store.search(QUERIES, BY_INDEX))


def test_filtered_searches_do_not_use_the_index(store):
    with store.writing():
        store.append([Row("far", None, "{}", camera="7")], -QUERIES[:1])
        store.build_index(nlist=20, progress=False)
    found = store.search(QUERIES[:1], SearchRequest(1, "index", 1, nprobe=1, filter=Filter(camera=7)))
    assert [one.row.id for one in found[0]] == ["far"]


def test_it_is_reopened_and_replaced_and_dropped_by_compaction(store, tmp_path):
    opened = FolderStore.read(tmp_path / "store")
    assert found_numbers(opened.search(QUERIES, BY_INDEX)) == found_numbers(store.search(QUERIES, BY_INDEX))
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


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def forge(path):
    """Replace the index by other bytes of the same length with matching checksums."""
    path.write_bytes(bytes(path.stat().st_size))
    content = json.loads((path.parent / "gallery.json").read_text())
    content["index"]["checksums"] = block_checksums(path.read_bytes())
    forging.forge(path.parent, content)


def forge_lists(path):
    """Make the manifest state fewer lists than the index has."""
    content = json.loads((path.parent / "gallery.json").read_text())
    content["index"]["lists"] = 19
    forging.forge(path.parent, content)


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink, replace_by_folder, forge, forge_lists])
def test_a_damaged_index_is_ignored_and_can_be_rebuilt(store, tmp_path, caplog, however_few, damage):
    [path] = (tmp_path / "store").glob("index-*")
    damage(path)
    opened = FolderStore.read(tmp_path / "store")
    for _ in range(3):
        np.testing.assert_array_equal(found_numbers(opened.search(QUERIES, BY_INDEX)), best(VECTORS))
    [warning] = caplog.messages
    assert path.name in warning
    assert "exact" in warning
    with opened.writing():
        opened.remove(["7"])
        opened.append([Row("new", None, "{}")], VECTORS[:1])
        opened.build_index(nlist=20, progress=False)
    caplog.clear()
    again = FolderStore.read(tmp_path / "store")
    assert recall(found_numbers(again.search(QUERIES, BY_INDEX)), best(VECTORS)) > 0.5
    again.check(progress=False)
    assert not caplog.messages


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_a_check_names_a_damaged_index(store, tmp_path, damage):
    [path] = (tmp_path / "store").glob("index-*")
    damage(path)
    with pytest.raises(GalleryError, match=path.name):
        FolderStore.read(tmp_path / "store").check(progress=False)


@pytest.mark.parametrize(("rows", "left", "probes", "asked"), [
    (MIN_ROWS, MIN_ROWS, 10, True), (MIN_ROWS - 1, MIN_ROWS - 1, 1, False), (1 << 40, 1 << 40, 11, False),
    (1 << 40, 1 << 40, 20, False), (1 << 40, 1 << 39, 10, False), (2 * MIN_ROWS, MIN_ROWS - 1, 10, False),
])  # fmt: skip
def test_an_index_is_used_only_if_it_is_worthwhile(store, rows, left, probes, asked):
    entry = replace(store.manifest.index, rows=rows, held=rows, probes=probes)
    assert is_worthwhile(entry, left) == asked


def test_an_index_with_many_removed_rows_is_not_used(store, monkeypatch):
    """The remaining rows have a lower recall than measured. Rows were added later."""
    monkeypatch.setattr("tbps.gallery.folder.faiss_index.MIN_ROWS", 100)
    asked = []
    monkeypatch.setattr("tbps.gallery.folder.faiss_index.Index.candidates", lambda self, *given: asked.append(0) or [])
    with store.writing():
        store.replace([Row(str(n), None, "{}") for n in range(100)])
        store.remove([str(n) for n in range(100, 1500)])
    kept = np.concatenate([VECTORS[1500:], VECTORS[:100]])
    scores = [[one.score for one in found] for found in store.search(QUERIES, BY_INDEX)]
    np.testing.assert_allclose(scores, -np.sort(-(QUERIES @ kept.T), axis=1)[:, :5], rtol=1e-4)
    assert not asked


def test_few_images_are_searched_exactly(store, monkeypatch):
    monkeypatch.setattr("tbps.gallery.folder.faiss_index.Index.candidates", None)  # it is not used
    np.testing.assert_array_equal(found_numbers(store.search(QUERIES, BY_INDEX)), best(VECTORS))


@st.composite
def galleries(draw):
    """Vectors with and without clusters, of very different lengths, zero or equal, and removed rows."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, spread = draw(st.integers(1, 1500)), draw(st.sampled_from([0.3, 1, 5]))
    vectors = rng.standard_normal((12, 24))[rng.integers(0, 12, rows)] + spread * rng.standard_normal((rows, 24))
    vectors, _ = directions(vectors)
    other = rng.random(rows) < draw(st.sampled_from([0, 0.01, 0.3]))
    vectors[other] *= 10.0 ** rng.integers(-6, 6, (other.sum(), 1))
    vectors[rng.random(rows) < draw(st.sampled_from([0, 0.1]))] = draw(st.sampled_from([0, 1]))
    return vectors.astype(np.float32), rng.random(rows) < draw(st.sampled_from([0, 0.2])), rng


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(galleries(), st.sampled_from([0.5, 0.9, 0.99]), st.sampled_from(["float32", "int8"]))
def test_a_search_reads_enough_lists_for_the_target_recall(tmp_path_factory, however_few, gallery, target, dtype):
    """Compare with a plain product, for queries that did not serve to measure the recall."""
    vectors, gone, rng = gallery
    gone[0] = False
    store = make_store(
        tmp_path_factory.mktemp("store"), vectors, [len(vectors) // 2] if len(vectors) > 1 else [], dtype
    )
    with store.writing():
        store.remove([str(place) for place in np.flatnonzero(gone)])
        store.build_index(min(9, max(1, store.count() // 10)), target, progress=False)
    entry = store.manifest.index
    stored = np.concatenate([matrix for _, matrix in store.scan()]).astype(np.float64)
    k = min(10, len(stored))
    rows, _ = directions(stored[rng.integers(0, len(stored), 100)])
    noise, _ = directions(rng.standard_normal(rows.shape))
    queries = (rows + noise).astype(np.float32)
    least = np.sort(queries @ stored.T, axis=1)[:, -k]
    least -= 1e-9 * np.abs(least)
    found = store.search(queries, SearchRequest(k, "index", 100))
    assert all(len(row) == k for row in found)
    share = sum(one.score >= last for row, last in zip(found, least, strict=True) for one in row) / (k * len(found))
    assert 0 <= entry.recall <= 1
    assert 1 <= entry.probes <= entry.lists
    assert entry.recall >= target or entry.probes == entry.lists
    assert share >= entry.recall - 0.1, "100 queries differ from those that were measured"


def test_all_rows_are_searched_if_the_lists_hold_too_few(store):
    for found in (
        store.search(QUERIES, SearchRequest(1500, "index", 1500, nprobe=1)),
        store.search(QUERIES, SearchRequest(1500)),
    ):
        assert [sorted(row) for row in found_numbers(found)] == [sorted(row) for row in best(VECTORS, 1500).tolist()]


def test_the_command_says_what_was_measured(store, tmp_path, capsys):
    folder = str(tmp_path / "store")
    assert main(["gallery", "build-index", folder, "--nlist", "20", "--target-recall", "0.9"]) == 0
    entry = FolderStore.read(tmp_path / "store").manifest.index
    assert f"index recall@10         {entry.recall:.4f}".rstrip("0") in capsys.readouterr().out
    assert main(["gallery", "info", folder, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["index"].startswith(f"2000 images in 20 lists; a search reads {entry.probes} of them; ")
    assert (facts["index recall@10"], facts["index target"]) == (round(entry.recall, 4), 0.9)
    assert facts["index measured with"].startswith("256 altered vectors")
    assert main(["gallery", "build-index", folder, "--nlist", "2001"]) == 2
    assert "nlist=2001 is more than the 2000 images" in capsys.readouterr().err


def test_a_target_that_no_number_of_lists_reaches_is_reported(tmp_path, however_few):
    vectors = VECTORS.copy()
    vectors[:500] = vectors[0] + 1e-5 * RNG.standard_normal((500, 32))  # finer than the steps of the index's codes
    store = make_store(tmp_path / "store", vectors)
    with store.writing():
        store.build_index(nlist=4, progress=False)
    entry = store.manifest.index
    assert entry.probes == entry.lists
    assert 0 < entry.recall < 0.99 == entry.target_recall


@pytest.mark.parametrize("longer", [1e3, 1e15])
def test_a_very_long_vector_does_not_coarsen_the_codes_of_the_index(tmp_path, however_few, longer):
    vectors = VECTORS.copy()
    vectors[[5, 700]] *= np.array([[longer], [1 / longer]], np.float32)
    store = make_store(tmp_path / "store", vectors, [600])
    with store.writing():
        store.build_index(nlist=20, progress=False)
    assert store.manifest.index.recall >= 0.99
    found = store.search(QUERIES, SearchRequest(5, "index", 100))
    assert recall(found_numbers(found), best(vectors)) >= 0.98


@pytest.mark.parametrize(("nlist", "target", "message"), [
    (2001, 0.99, "nlist=2001 is more than the 2000 images"),
    (20, 0, "target_recall must be above 0 and at most 1, got 0"),
    (20, 1.01, "target_recall must be above 0 and at most 1, got 1.01"),
    (20, float("nan"), "target_recall must be above 0 and at most 1, got nan"),
])  # fmt: skip
def test_invalid_settings_are_refused_and_the_old_index_stays(store, tmp_path, nlist, target, message):
    before = store.manifest
    with store.writing(), pytest.raises(ValueError, match=message):
        store.build_index(nlist, target, progress=False)
    assert FolderStore.read(tmp_path / "store").manifest == before
    assert [path.name for path in (tmp_path / "store").glob("index-*")] == [before.index.file]


def test_an_empty_gallery_has_nothing_to_index(tmp_path):
    store = make_store(tmp_path / "store", VECTORS[:5])
    with store.writing():
        store.remove([str(n) for n in range(5)])
        with pytest.raises(GalleryError, match="is empty"):
            store.build_index(progress=False)
        store.compact(10, progress=False)
        with pytest.raises(GalleryError, match="is empty"):
            store.build_index(progress=False)
