"""What a gallery can be asked for, and what it must not show."""

import json
import math
import os
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from tbps.evaluation.encoding import encode_images, encode_texts
from tbps.gallery import Filter, Gallery, GalleryError, Query
from tbps.gallery.folder.manifest import Manifest
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import DTYPES, Row

SENTENCE = "a person with a red coat"


@pytest.fixture
def crops(make_crops):
    return make_crops(12)


@pytest.fixture
def gallery(tmp_path, crops, tiny_model, tiny_processor):
    gallery = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor, roots=[crops])
    tracks = [{"track": index % 4, "camera": index % 2, "timestamp": float(index)} for index in range(12)]
    gallery.add(crops, tracks, commit_every=5)
    return gallery


@pytest.fixture
def vectors(crops, tiny_model, tiny_processor):
    return encode_images(tiny_model, tiny_processor, sorted(crops.iterdir()), progress=False).numpy()


@pytest.fixture
def sentence(tiny_model, tiny_processor):
    return encode_texts(tiny_model, tiny_processor, [SENTENCE], progress=False).numpy()[0]


def names(hits):
    return [int(os.path.basename(hit.path)[:2]) for hit in hits]


def order(scores):
    return np.argsort(-scores, kind="stable").tolist()


def test_an_image_finds_itself_and_then_what_looks_like_it(gallery, crops, vectors):
    hits = gallery.search(crops / "03.png", k=12)
    assert names(hits) == order(vectors @ vectors[3])
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert names(gallery.search(Image.open(crops / "03.png"), k=2)) == names(hits)[:2]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_sentence_refines_an_image_by_its_share(gallery, crops, vectors, sentence, share):
    scores = (1 - share) * vectors @ vectors[3] + share * vectors @ sentence
    hits = gallery.search(Query(SENTENCE, crops / "03.png", text_weight=share), k=12)
    assert names(hits) == order(scores)
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)


def test_queries_of_all_kinds_at_once_give_what_each_gives_alone(gallery, crops):
    asked = [SENTENCE, crops / "01.png", Query(SENTENCE, crops / "01.png")]
    for together, one in zip(gallery.search(asked, k=4), asked, strict=True):
        assert names(together) == names(gallery.search(one, k=4))


def test_parts_sum_to_the_score(gallery, vectors, sentence):
    for hit in gallery.search(SENTENCE, k=12):
        assert len(hit.parts) == 4
        assert math.fsum(hit.parts) == pytest.approx(hit.score, abs=1e-6)
        row = vectors[names([hit])[0]]
        assert hit.parts[0] == pytest.approx(float(row[:24] @ sentence[:24]), abs=1e-6)
        assert hit.parts[3] == pytest.approx(float(row[40:] @ sentence[40:]), abs=1e-6)


def test_filters_never_cost_recall(gallery, vectors, sentence):
    everything = order(vectors @ sentence)
    wanted = Filter(camera=1, since=3, metadata={"track": 3})
    assert names(gallery.search(SENTENCE, k=12, where=wanted)) == [n for n in everything if n % 4 == 3]
    assert gallery.search(SENTENCE, where=Filter(camera="nowhere")) == []


def test_one_hit_a_track_is_the_best_of_each(gallery, vectors, sentence):
    everything = order(vectors @ sentence)
    best = [next(n for n in everything if n % 4 == track) for track in range(4)]
    found = names(gallery.search(SENTENCE, k=10, group_by="track"))
    assert found == [n for n in everything if n in best]
    assert names(gallery.search(SENTENCE, k=1, group_by="track")) == found[:1]
    assert names(gallery.search(SENTENCE, k=12, group_by="no such name")) == everything


def test_not_this_person(gallery, vectors, sentence):
    everything = order(vectors @ sentence)
    [best] = gallery.search(SENTENCE, k=1)
    assert names(gallery.search(SENTENCE, k=12, exclude=[best.id])) == everything[1:]
    likeness = vectors @ vectors[everything[0]]
    level = float(np.sort(likeness)[-4])  # itself and three others
    left = [n for n in everything if likeness[n] < level - 1e-6]
    assert len(left) == 8
    assert names(gallery.search(SENTENCE, k=12, exclude=[best.id], exclude_similar=level - 1e-6)) == left
    assert gallery.search(SENTENCE, k=12, exclude=[best.id], exclude_similar=-1.0) == []
    with pytest.raises(GalleryError, match=r"no image of the gallery .* has the id 'nobody'"):
        gallery.search(SENTENCE, exclude=["nobody"], exclude_similar=0.9)
    with pytest.raises(TypeError, match="expected a list of ids"):
        gallery.search(SENTENCE, exclude="nobody")


def test_below_a_score_there_is_no_match(gallery, vectors, sentence):
    scores = np.sort(vectors @ sentence)[::-1]
    assert len(gallery.search(SENTENCE, k=12, min_score=float(scores[4:6].mean()))) == 5
    assert gallery.search(SENTENCE, k=12, min_score=2.0) == []


@pytest.mark.parametrize("mode", ["int8", "global"])
def test_candidates_of_coarse_modes_are_scored_in_full(gallery, vectors, sentence, mode):
    hits = gallery.search(SENTENCE, k=3, mode=mode, candidates=12)
    assert names(hits) == order(vectors @ sentence)[:3]
    assert [hit.score for hit in hits] == pytest.approx(np.sort(vectors @ sentence)[::-1][:3], abs=1e-6)


def test_get_tells_what_is_kept(gallery):
    [hit] = gallery.search(SENTENCE, k=1)
    assert gallery.get([hit.id, "nobody"]) == [replace(hit, score=0.0, parts=(0.0,) * 4), None]
    with pytest.raises(TypeError, match=f"ids='{hit.id}': expected a list"):
        gallery.get(hit.id)
    assert gallery.search(SENTENCE, k=1, min_score=np.float32(-1)) == [hit]


@pytest.mark.parametrize(
    ("query", "options", "error", "match"),
    [
        (SENTENCE, {"mode": "fast"}, ValueError, "mode='fast': expected one of exact, int8, global, index"),
        (Query(text=""), {}, ValueError, "''"),
        (7, {}, TypeError, "Cannot search for 7"),
    ],
)
def test_refuses_what_it_cannot_answer(gallery, query, options, error, match):
    with pytest.raises(error, match=match):
        gallery.search(query, k=1, **options)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [({}, ValueError, "is empty: give a text"), ({"text": "a", "text_weight": 2}, ValueError, "from 0 to 1"),
     ({"text": "a", "text_weight": "0.5"}, TypeError, "from 0 to 1"),
     ({"text": "a", "text_weight": None}, TypeError, "from 0 to 1"),
     ({"text": "a", "text_weight": True}, TypeError, "from 0 to 1"),
     ({"text": 3}, TypeError, "expected text"), ({"text": "a \udcff man"}, ValueError, "not Unicode text")],
)  # fmt: skip
def test_a_query_says_what_it_lacks(options, error, match):
    with pytest.raises(error, match=match):
        Query(**options)


def test_only_files_within_the_roots_are_shown(tmp_path, crops, pictures, tiny_model, tiny_processor):
    outside, link = tmp_path / "outside.png", crops / "link.png"
    pictures[0].rotate(45).save(outside)
    pictures[1].rotate(45).save(tmp_path / "secret.png")
    link.symlink_to(tmp_path / "secret.png")
    open_ = lambda **options: Gallery.open(tmp_path / "own", tiny_model, tiny_processor, **options)  # noqa: E731
    open_().add([crops / "00.png", outside, link, crops / ".." / "crops" / "01.png"])
    shown = {hit.path: hit.image for hit in open_(roots=[crops]).search(SENTENCE, k=4)}
    assert shown == {str(crops / "00.png"): crops / "00.png", str(outside): None, str(link): None,
                     str(crops / "01.png"): crops / "01.png"}  # fmt: skip
    assert {hit.image for hit in open_().search(SENTENCE, k=4)} == {None}
    with pytest.raises(ValueError, match="is not a folder"):
        open_(roots=[outside])


def test_thumbnails_stand_in_for_files(tmp_path, pictures, tiny_model, tiny_processor):
    gallery = Gallery.open(tmp_path / "own", tiny_model, tiny_processor)
    large = Image.new("RGB", (500, 900), "red")
    gallery.add([*pictures, large], thumbnails=True)
    for hit in gallery.search(SENTENCE, k=5):
        with Image.open(BytesIO(hit.image)) as small:
            assert small.format == "JPEG"
            assert small.size <= (96, 192)


def test_a_reader_takes_up_what_was_written_when_it_is_told_to(tmp_path, gallery, pictures, tiny_model, tiny_processor):
    reader = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)
    gallery.add([pictures[0].rotate(33)])
    assert reader.count() == 12
    reader.refresh()
    assert reader.count() == 13


@pytest.mark.parametrize(
    ("entry", "match"),
    [({"timestamp": "noon"}, r"metadata\[0\]: timestamp='noon' is not a time"), ({"box": [1, 2]}, r"box=\[1, 2\]"),
     ({"camera": ["a"]}, r"camera=\['a'\]"), ({"camera": "\ud800"}, r"metadata\[0\] cannot be stored.*surrogates")],
)  # fmt: skip
def test_metadata_of_fixed_meaning_is_checked(gallery, pictures, entry, match):
    with pytest.raises((TypeError, ValueError), match=match):
        gallery.add([pictures[0].rotate(33)], [entry])
    assert gallery.count() == 12


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_smaller_numbers_give_almost_the_same_scores(
    tmp_path, crops, vectors, sentence, dtype, tiny_model, tiny_processor
):
    small = Gallery.open(tmp_path / "small", tiny_model, tiny_processor, dtype=dtype)
    small.add(crops)
    scores = {n: hit.score for hit in small.search(SENTENCE, k=12) for n in names([hit])}
    for n, score in enumerate(vectors @ sentence):
        assert scores[n] == pytest.approx(score, abs=1e-3 if dtype == "float16" else 1e-2)
    manifest = json.loads((tmp_path / "small" / "gallery.json").read_text())
    assert (manifest["layout"]["dtype"], manifest["rows"]) == (dtype, 12)
    with pytest.raises(ValueError, match="dtype='int4'"):
        Gallery.open(tmp_path / "other", tiny_model, tiny_processor, dtype="int4")


def test_search_embeddings_takes_the_same_options(gallery, sentence):
    hits = gallery.search_embeddings(torch.from_numpy(sentence[None]), 3, where=Filter(camera=0))[0]
    assert names(hits) == names(gallery.search(SENTENCE, k=3, where=Filter(camera=0)))


def test_upkeep_through_the_gallery(gallery, vectors, sentence):
    gallery.build_index(nlist=2, progress=False)
    everything = order(vectors @ sentence)
    assert names(gallery.search(SENTENCE, k=3, mode="index", nprobe=2)) == everything[:3]
    gallery.remove([gallery.search(SENTENCE, k=1)[0].id])
    gallery.compact(progress=False)
    gallery.check(progress=False)
    assert names(gallery.search(SENTENCE, k=11)) == everything[1:]
    with pytest.raises(GalleryError, match="has no index"):
        gallery.search(SENTENCE, k=1, mode="index")
    with pytest.raises(ValueError, match="rows_per_file=0"):
        gallery.compact(0)


def test_columns_of_a_dataset_become_metadata(gallery, pictures):
    when = datetime(2026, 5, 1, 12, tzinfo=UTC)
    table = datasets.Dataset.from_dict({"image": [pictures[0].rotate(33)], "timestamp": [when], "box": [[0, 0, 9.5, 9]],
                                        "extra": [{"floor": 2}], "nothing": [None], "caption": ["a man"]},
                                       ).cast_column("image", datasets.Image())  # fmt: skip
    [known] = gallery.add(table).added
    assert gallery.get([known])[0].metadata == {"timestamp": when.isoformat(), "box": [0.0, 0.0, 9.5, 9.0],
                                                "extra": {"floor": 2}}  # fmt: skip
    assert [hit.id for hit in gallery.search(SENTENCE, where=Filter(since=when))] == [known]


def test_what_somebody_else_wrote_into_a_gallery_breaks_no_search_unnamed(tmp_path, gallery, crops, vectors):
    store = FolderStore.read(tmp_path / "gallery")
    with store.writing():
        store.append([Row("odd path", "/tmp/a\0b", "{}")], vectors[:1])
    gallery.refresh()
    assert [hit.image for hit in gallery.search(SENTENCE, k=13) if hit.id == "odd path"] == [None]
    with store.writing():
        store.append([Row("odd metadata", None, "zzz")], vectors[:1])
    gallery.refresh()
    with pytest.raises(GalleryError, match="metadata of the image 'odd metadata' is not a JSON object"):
        gallery.search(SENTENCE, k=14)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [({"min_score": math.nan}, ValueError, "min_score=nan"), ({"candidates": -5}, ValueError, "candidates=-5"),
     ({"exclude": ["x"], "exclude_similar": math.nan}, ValueError, "exclude_similar=nan"),
     ({"exclude": ["x"], "exclude_similar": 95}, ValueError, "exclude_similar=95: expected a cosine"),
     ({"nprobe": 0}, ValueError, "nprobe=0"), ({"exclude": ["x"]}, GalleryError, "has the id 'x'"),
     ({"min_score": "1"}, TypeError, "min_score='1'"), ({"where": {"camera": "a"}}, TypeError, "expected a Filter")],
)  # fmt: skip
def test_options_that_would_be_silently_something_else_are_refused(gallery, options, error, match):
    with pytest.raises(error, match=match):
        gallery.search(SENTENCE, **options)


@pytest.mark.parametrize("number", [math.nan, math.inf, 1e300])
def test_a_query_that_is_not_finite_is_refused(gallery, monkeypatch, number):
    query = torch.ones(2, 48, dtype=torch.float64)
    query[1, 3] = number
    with pytest.raises(ValueError, match="query 1 holds a NaN, or a number beyond float32"):
        gallery.search_embeddings(query, 3)
    broken = query[1:].float()
    monkeypatch.setattr("tbps.gallery.queries.encode_texts", lambda *_, **__: broken)
    with pytest.raises(ValueError, match="query 0 holds a NaN"):
        gallery.search(SENTENCE)


@pytest.mark.parametrize("length", [1e-20, 1, 1e25])
def test_parts_sum_to_the_score_whatever_the_lengths(tmp_path, tiny_model, tiny_processor, gallery, length):
    store = FolderStore.read(tmp_path / "gallery")
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((2, 48)) * length).astype(np.float32)
    with store.writing():
        store.append([Row("one", None, "{}"), Row("other", None, "{}")], vectors)
    gallery.refresh()
    for query in (torch.from_numpy(vectors[:1]), torch.from_numpy(vectors[1:])):
        best = gallery.search_embeddings(query, 14)[0][0 if length > 1e-10 else -1]
        assert np.isfinite(best.parts).all()
        assert sum(best.parts) == pytest.approx(best.score, rel=1e-9)


def test_an_open_during_a_compaction_finds_the_new_files(tmp_path, gallery):
    before = Manifest.read(tmp_path / "gallery")
    gallery.compact(progress=False)
    assert FolderStore(tmp_path / "gallery", before).count() == 12


def test_files_newer_than_manifests_put_back_are_not_deleted(tmp_path, gallery, pictures):
    both = [tmp_path / "gallery" / name for name in ("gallery.json", "gallery.copy.json")]
    older = both[0].read_bytes()
    gallery.add([pictures[0].rotate(33)])
    newer = both[0].read_bytes()
    for path in both:
        path.write_bytes(older)
    with FolderStore.read(tmp_path / "gallery").writing():
        pass
    both[0].write_bytes(newer)
    assert FolderStore.read(tmp_path / "gallery").count() == 13


def test_another_dtype_than_the_gallery_keeps_is_refused(tmp_path, gallery, tiny_model, tiny_processor):
    with pytest.raises(GalleryError, match="stores float32 and was opened with dtype='int8'"):
        Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor, dtype="int8")
    with pytest.raises(TypeError, match="ids='abc': expected a list"):
        gallery.remove("abc")


def test_a_copy_of_another_dtype_goes_into_a_new_gallery_only(tmp_path, rows, tiny_model, tiny_processor):
    gallery = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)
    gallery.add(rows, progress=False)
    for kept in DTYPES:
        assert gallery.export(tmp_path / kept, dtype=kept, progress=False) == 12
        assert Gallery.open(tmp_path / kept, tiny_model, tiny_processor)._store.layout.dtype == kept
        for asked in DTYPES:
            if asked == kept:
                assert gallery.export(tmp_path / kept, dtype=asked, progress=False) == 0
                continue
            with pytest.raises(GalleryError, match=f"stores {kept} and was opened with dtype='{asked}'"):
                gallery.export(tmp_path / kept, dtype=asked, progress=False)
        assert gallery.export(tmp_path / kept, progress=False) == 0
    with pytest.raises(ValueError, match="float64"):
        gallery.export(tmp_path / "new", dtype="float64", progress=False)
    assert not (tmp_path / "new").exists()
