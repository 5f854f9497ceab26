"""What every store of a gallery promises, asked of a folder, of Milvus Lite, and of a Milvus server if there is one."""

import math

import numpy as np
import pytest
import torch
from contract_rows import (
    KEPT,
    LAYOUT,
    MODEL,
    QUERIES,
    ROWS,
    VECTORS,
    WIDTH,
    assert_found,
    best,
    fill,
    open_place,
    random_rows,
    unit_vectors,
)
from gallery_places import new_place
from PIL import Image

from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery import Gallery
from tbps.gallery.checks import GalleryError
from tbps.gallery.copy import copy_rows
from tbps.gallery.filters import Filter
from tbps.gallery.metadata import make_row
from tbps.gallery.open_store import open_existing, open_store
from tbps.gallery.store import Row, SearchRequest


def test_counts_knows_and_gives_what_was_committed(filled):
    assert filled.count() == len(KEPT)
    ids = [row.id for row in ROWS] + ["never", "né\"'\\"]
    assert filled.known(ids) == {ROWS[place].id for place in KEPT}
    assert filled.known([]) == set()
    got = filled.get([ROWS[9].id, "never", ROWS[3].id, ROWS[0].id, 'x"', ROWS[9].id])
    assert [one and one.row for one in got] == [ROWS[9], None, None, ROWS[0], None, ROWS[9]]
    np.testing.assert_array_equal(got[0].vector, VECTORS[9])
    assert got[0].score == 0


def test_scans_all_rows_in_order_of_insertion(filled):
    pieces = list(filled.scan())
    assert [row for rows, _ in pieces for row in rows] == [ROWS[place] for place in KEPT]
    np.testing.assert_array_equal(np.concatenate([vectors for _, vectors in pieces]), VECTORS[KEPT])


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_vector_that_is_not_finite_is_refused_by_name(filled, number):
    vectors = unit_vectors(2)
    vectors[1, 5] = number
    with filled.writing(), pytest.raises(GalleryError, match=f"image {'f' * 32}.*finite"):
        filled.append([make_row("e" * 32, None, {}), make_row("f" * 32, None, {})], vectors)
    assert filled.count() == len(KEPT)


def test_the_cosine_is_the_product_of_unit_vectors(filled):
    for plain, found in zip(
        filled.search(QUERIES, SearchRequest(40)), filled.search(QUERIES, SearchRequest(40, cosine=True)), strict=True
    ):
        assert [one.row.id for one in found] == [one.row.id for one in plain]
        np.testing.assert_allclose([1.2 * one.score for one in found], [one.score for one in plain], rtol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 7, 40, 1000])
def test_finds_the_best_and_of_equal_ones_the_first(filled, k):
    for found, query in zip(filled.search(QUERIES, SearchRequest(k)), QUERIES, strict=True):
        assert_found(found, query, best(query, k))


@pytest.mark.parametrize("columns", [["id"], ["path", "metadata"], ["timestamp", "camera", "source"], ["thumbnail"]])
def test_lists_what_is_asked_for_in_order_of_insertion(filled, columns):
    listed = [row for piece in filled.iter_rows(columns) for row in piece]
    assert listed == [{name: getattr(ROWS[place], name) for name in columns} for place in KEPT]


def test_excluded_rows_are_not_found(filled):
    first = best(QUERIES[0], 20)
    unknown = {"never", "né\"'\\", '"] or id != "'}
    request = SearchRequest(9, excluded=frozenset({*(ROWS[place].id for place in first[::2]), *unknown}))
    assert_found(filled.search(QUERIES[:1], request)[0], QUERIES[0], [*first[1::2]][:9])
    north = SearchRequest(9, filter=Filter(camera="north"), excluded=request.excluded)
    left = {ROWS[place].id for place in first[::2]}
    expected = best(QUERIES[0], 9, lambda row: row.camera == "north" and row.id not in left)
    assert_found(filled.search(QUERIES[:1], north)[0], QUERIES[0], expected)
    everything = SearchRequest(9, excluded=frozenset(row.id for row in ROWS))
    assert filled.search(QUERIES, everything) == [[], [], []]


@pytest.mark.parametrize("mode", ["int8", "global"])
def test_with_all_rows_as_candidates_every_mode_finds_the_same(filled, mode):
    for found, query in zip(filled.search(QUERIES, SearchRequest(12, mode, 150)), QUERIES, strict=True):
        assert_found(found, query, best(query, 12))


def test_nothing_is_asked_and_nothing_is_there(place):
    store = open_place(place)
    assert (store.count(), store.known(["a"]), store.get(["a"]), list(store.scan())) == (0, set(), [None], [])
    store.append(ROWS[:2], VECTORS[:2])
    assert store.search(QUERIES[:0], SearchRequest(1)) == []


def test_reopened_it_is_as_it_was_and_another_model_is_refused(place):
    fill(open_place(place))
    place.stop()
    store = open_place(place)
    assert [row for rows, _ in store.scan() for row in rows] == [ROWS[place] for place in KEPT]
    assert_found(store.search(QUERIES[:1], SearchRequest(9))[0], QUERIES[0], best(QUERIES[0], 9))
    store.append(random_rows(1, first=500), VECTORS[:1])
    assert list(store.scan())[-1][0][-1] == random_rows(1, first=500)[0], "new rows come after the old ones"
    for other in (ModelIdentity("another", "1" * 32, WIDTH), ModelIdentity("another", "0" * 32, WIDTH + 1)):
        with pytest.raises(GalleryError, match=r"was made with 'a model'.*is opened with 'another'"):
            open_place(place, other)
    assert (store.model, store.layout) == (MODEL, LAYOUT)
    assert (open_existing(place.where, place.token).model.fingerprint, store.where) == ("0" * 32, str(place.where))


def test_another_that_has_it_open_sees_what_was_written(place):
    reader, writer = open_place(place), open_place(place)
    fill(writer)
    reader.refresh()
    assert reader.count() == len(KEPT)
    assert_found(reader.search(QUERIES[:1], SearchRequest(3))[0], QUERIES[0], best(QUERIES[0], 3))


def test_replaced_rows_are_found_as_what_they_are_now_and_come_last(place):
    chosen = [KEPT[n] for n in (100, 0, 57, 58, len(KEPT) - 1)]
    new = [make_row(ROWS[n].id, f"/moved/{n}.png", {"camera": f"new {n}", "colour": "new"}) for n in chosen]

    def check(store):
        got = store.get([row.id for row in new])
        assert [one.row for one in got] == new
        np.testing.assert_array_equal([one.vector for one in got], VECTORS[chosen])
        assert store.count() == len(KEPT)
        assert [row for rows, _ in store.scan() for row in rows] == [ROWS[n] for n in KEPT if n not in chosen] + new
        [found] = store.search(QUERIES[:1], SearchRequest(9, filter=Filter(metadata={"colour": "new"})))
        assert {one.row.id for one in found} == {row.id for row in new}
        for camera in {ROWS[n].camera for n in chosen} - {None}:
            [found] = store.search(QUERIES[:1], SearchRequest(150, filter=Filter(camera=camera)))
            assert {row.id for row in new}.isdisjoint(one.row.id for one in found), "not as what they were"

    store = open_place(place)
    fill(store)
    with store.writing():
        store.replace(new)
    check(store)
    place.stop()
    check(open_place(place))


def test_what_is_not_there_is_not_made_by_reading(place):
    with pytest.raises(GalleryError, match="is not a gallery"):
        open_existing(place.where, place.token)


def test_rows_and_vectors_move_between_stores(place, tmp_path):
    """Into a folder and back into a store that has some of them already, thumbnails and all."""
    source = open_place(place)
    rows = [Row(f"{n}", None, "{}", thumbnail=bytes(range(n, 256))) for n in range(3)] + ROWS
    vectors = np.concatenate([unit_vectors(3, seed=5), VECTORS])
    source.append(rows, vectors)
    folder = open_store(tmp_path / "copy", MODEL, LAYOUT)
    assert copy_rows(source, folder, progress=False) == len(rows)
    assert copy_rows(source, folder, progress=False) == 0
    with new_place(place.kind, tmp_path) as other:
        back = open_place(other)
        back.append(rows[5:7], vectors[5:7])
        assert copy_rows(open_existing(folder.where), back, progress=False) == len(rows) - 2
        moved = [row for some, _ in back.scan() for row in some]
        assert moved == rows[5:7] + rows[:5] + rows[7:]
        request = SearchRequest(30, filter=Filter(since=0))
        assert {one.row.id for one in back.search(QUERIES[:1], request)[0]} == {
            one.row.id for one in source.search(QUERIES[:1], request)[0]
        }


def test_more_rows_than_fit_into_one_message_and_more_equal_ones_than_are_asked_for(place):
    store = open_place(place)
    rows = [Row(f"{n:x}", None, "{}") for n in range(2500)]
    vectors = unit_vectors(2500, seed=3)
    alike = np.arange(7, 2500, 20)  # 125 rows
    vectors[alike] = vectors[7]
    with store.writing():
        store.append(rows, vectors)
    assert (store.count(), len(store.known([row.id for row in rows]))) == (2500, 2500)
    assert [row for some, _ in store.scan() for row in some] == rows
    query = vectors[7:8]
    for k in (1, 30, 125):
        assert [one.row for one in store.search(query, SearchRequest(k))[0]] == [rows[place] for place in alike[:k]]
    expected = np.argsort(-(vectors * query).sum(axis=1), kind="stable")[:2200]
    found = store.search(query, SearchRequest(2200))[0]
    np.testing.assert_allclose([one.score for one in found], vectors[expected] @ query[0], atol=2e-6)
    assert {one.row.id for one in found} == {rows[place].id for place in expected}
    assert store.remove([rows[place].id for place in alike]) == len(alike)
    assert store.count() == 2500 - len(alike)


def test_a_gallery_is_the_same_in_every_store(place, tmp_path, tiny_model, tiny_processor):
    """Add, search by a sentence, remove, export and import through `Gallery`."""
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (32, 16, 3), dtype=np.uint8)) for _ in range(12)]
    metadata = [{"camera": n % 3, "track": f"t{n % 5}", "timestamp": f"2026-05-0{n % 9 + 1}"} for n in range(12)]
    asked = [{"k": 10}, {"k": 4, "where": Filter(camera=1)}, {"k": 5, "group_by": "track"},
             {"k": 3, "where": Filter(since="2026-05-04", metadata={"track": "t1"})}]  # fmt: skip

    def opened(where, token=None):
        return Gallery.open(where, tiny_model, tiny_processor, token=token)

    def answers(gallery):
        return [gallery.search("a person with a red coat", **options) for options in asked]

    def assert_equal(gallery, expected):
        for hits, others in zip(answers(gallery), answers(expected), strict=True):
            assert [(hit.id, hit.metadata, hit.image) for hit in hits] == [(o.id, o.metadata, o.image) for o in others]
            np.testing.assert_allclose([hit.parts for hit in hits], [other.parts for other in others], atol=1e-6)

    reference, gallery = opened(tmp_path / "reference"), opened(place.where, place.token)
    for one in (reference, gallery):
        ids = one.add(pictures[:7], metadata[:7], progress=False, thumbnails=True).added
        assert len(one.add(pictures, metadata, progress=False, batch_size=2, commit_every=3).added) == 5
        assert one.add(pictures, progress=False).added == []
    assert_equal(gallery, reference)
    changes = {ids[2]: {"camera": 1, "track": None}, ids[3]: {"timestamp": "2026-05-09"}, "never": {"camera": 1}}
    for one in (reference, gallery):
        twice = [one.update(changes), one.update(changes)]
        assert [result.updated for result in twice] == [ids[2:4], []]
        assert [result.unknown for result in twice] == [["never"], ["never"]]
        again = one.add(pictures[4:6], [{"camera": 1}, {"camera": 1}], progress=False, update=True)
        assert (again.added, again.updated, again.unchanged) == ([], ids[5:6], 1), "picture 4 was of that camera before"
        assert one.get(ids[2:3])[0].metadata == {"camera": 1, "timestamp": "2026-05-03"}
    assert_equal(gallery, reference)
    for one in (reference, gallery):
        assert one.remove([ids[0], ids[5], "never"]) == 2
    assert_equal(gallery, reference)
    alike = [one.search_embeddings(torch.eye(48)[:1], 3, exclude=[ids[1]], exclude_similar=0.99)[0] for one in
             (reference, gallery)]  # fmt: skip
    assert [hit.id for hit in alike[0]] == [hit.id for hit in alike[1]]

    assert gallery.export(tmp_path / "out", progress=False) == 10
    assert_equal(opened(tmp_path / "out"), reference)
    with new_place(place.kind, tmp_path) as other:
        again = opened(other.where, other.token)
        assert again.import_(tmp_path / "out", progress=False) == 10
        assert again.import_(place.where, token=place.token, progress=False) == 0
        assert_equal(again, reference)
