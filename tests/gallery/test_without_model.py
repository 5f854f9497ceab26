"""A gallery opened without a model does all but encode; options with former names are refused by name."""

import inspect

import pytest
import torch
from tiny import SENTENCES

from tbps.evaluation.encoding import encode_texts
from tbps.gallery import Filter, Gallery, GalleryError, Query
from tbps.gallery.store import IndexInfo

OPTIONS = ("where", "exclude", "exclude_similar", "group_by", "min_score", "mode", "candidates", "nprobe")


@pytest.fixture
def with_model(tmp_path, make_crops, tiny_model, tiny_processor):
    gallery = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)
    gallery.add(make_crops(8), [{"camera": n % 2} for n in range(8)])
    return gallery


@pytest.fixture
def without_model(with_model, tmp_path):
    return Gallery.open(tmp_path / "gallery", roots=[tmp_path / "crops"])


def test_it_reads_changes_and_removes(with_model, without_model):
    ids = [row["id"] for row in without_model.rows(columns=["id"])]
    assert (without_model.count(), without_model.count(Filter(camera=1))) == (8, 4)
    assert without_model.values("camera") == [("0", 4), ("1", 4)]
    assert without_model.get(ids[:1])[0].metadata == {"camera": 0}
    assert without_model.known([ids[0], "other"]) == {ids[0]}
    assert without_model.fingerprint == with_model.fingerprint
    assert without_model.update({ids[0]: {"floor": 2}}).updated == ids[:1]
    assert without_model.remove(ids[1:2]) == 1
    assert without_model.remove(where=Filter(camera=1)) == 3
    with_model.refresh()
    assert with_model.count() == 4


def test_it_searches_by_vectors_as_a_gallery_with_a_model_does(with_model, without_model, tiny_model, tiny_processor):
    vectors = encode_texts(tiny_model, tiny_processor, SENTENCES[:2], progress=False)
    found = without_model.search_embeddings(vectors, 5)
    assert [[hit.id for hit in row] for row in found] == [
        [hit.id for hit in row] for row in with_model.search(SENTENCES[:2], 5)
    ]
    with pytest.raises(ValueError, match=rf"expected \(Q, {vectors.shape[1]}\)"):
        without_model.search_embeddings(torch.ones(1, 3), 1)


def test_it_maintains_and_copies(with_model, without_model, tmp_path, tiny_model, tiny_processor):
    first = next(without_model.rows(columns=["id"]))["id"]
    without_model.remove([first])
    info = without_model.info()
    assert (info.images, info.files.removed, info.files.index) == (7, 1, None)
    assert (info.fingerprint, info.layout.width) == (with_model.fingerprint, tiny_model.config.embedding_dim)
    without_model.compact(progress=False)
    assert without_model.info().files.removed == 0
    without_model.check(progress=False)
    assert without_model.export(tmp_path / "copy", progress=False) == 7
    assert Gallery.open(tmp_path / "copy", tiny_model, tiny_processor).count() == 7
    assert without_model.sync(tmp_path / "crops", progress=False).unchanged == 7


def test_its_index_is_described(without_model):
    pytest.importorskip("faiss")
    without_model.build_index(nlist=2, progress=False, target_recall=0.9)
    index = without_model.info().files.index
    assert isinstance(index, IndexInfo)
    assert (index.images, index.nlist, index.target_recall, index.is_used) == (8, 2, 0.9, False)
    assert 1 <= index.nprobe <= 2


@pytest.mark.parametrize("query", [SENTENCES[0], Query(text=SENTENCES[0]), [SENTENCES[0]]])
def test_what_must_encode_asks_for_a_model(without_model, tmp_path, query):
    for use in (lambda: without_model.search(query), lambda: without_model.add(tmp_path / "crops")):
        with pytest.raises(GalleryError, match=r"opened without one: use Gallery.open\(where, model, processor\)"):
            use()
    assert without_model.count() == 8


def test_only_an_existing_gallery_opens_without_a_model(tmp_path, tiny_model):
    with pytest.raises(GalleryError, match="nothing"):
        Gallery.open(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(TypeError, match="a model and its processor, or neither"):
        Gallery.open(tmp_path / "nothing", tiny_model)


@pytest.mark.parametrize(
    ("old", "new"),
    [("one_per", "group_by"), ("exclude_alike", "exclude_similar"), ("probes", "nprobe")],
)
def test_former_names_of_options_are_refused_by_name(with_model, old, new):
    for search in (with_model.search, with_model.search_embeddings):
        with pytest.raises(TypeError, match=f"{old} is now {new}"):
            search(SENTENCES[0], **{old: 1})
    with pytest.raises(TypeError, match="text_share is now text_weight"):
        Query("a man", text_share=0.5)
    with pytest.raises(TypeError, match="lists is now nlist"):
        with_model.build_index(lists=2)
    with pytest.raises(ValueError, match="'prefix' is now 'global'"):
        with_model.search(SENTENCES[0], mode="prefix")


@pytest.mark.parametrize("search", [Gallery.search, Gallery.search_embeddings])
def test_a_search_names_its_options(search):
    assert tuple(inspect.signature(search).parameters)[3:] == OPTIONS
