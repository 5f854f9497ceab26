"""Gallery: add, reopen, search, and what it says to arguments that do not fit."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

from tbps import TBPSImageProcessor, TBPSModel, TBPSProcessor
from tbps.data.images import BadImageError
from tbps.evaluation.encoding import encode_images, encode_texts
from tbps.evaluation.fingerprint import ModelIdentity, identify
from tbps.gallery import Gallery, GalleryError
from tbps.gallery.folder.manifest_entries import Origin
from tbps.gallery.folder.shards import Shard, make_batch, write_batch
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import Layout, Row

QUERY = "a person with a red coat"
LAYOUT = Layout("float32", 24, 3, 8)


@pytest.fixture
def gallery(tmp_path, tiny_model, tiny_processor):
    return Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)


@pytest.fixture
def reopen(tmp_path, tiny_model, tiny_processor):
    return lambda: Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)


@pytest.fixture
def folder(tmp_path, pictures):
    """Six files in two folders, in sorted order, and one that is no image by its name."""
    paths = [tmp_path / "crops" / name for name in ("a/0.png", "a/1.png", "a/2.png", "b/0.png", "b/1.png", "b/2.png")]
    for index, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures[index % 4].rotate(index).save(path)
    (tmp_path / "crops" / "notes.txt").write_text("no image")
    return tmp_path / "crops"


def assert_same(hits, expected):
    """Equal, but for the last bits of the scores: the order of summation may depend on where numbers lie in memory."""
    assert [(hit.id, hit.path, hit.metadata) for hit in hits] == [(hit.id, hit.path, hit.metadata) for hit in expected]
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-6)


def files(folder):
    return sorted(folder.rglob("*.png"))


def test_scores_are_inner_products_of_retrieval_vectors(gallery, folder, tiny_model, tiny_processor, sentences):
    gallery.add(folder, commit_every=4)
    texts = encode_texts(tiny_model, tiny_processor, sentences, progress=False)
    images = encode_images(tiny_model, tiny_processor, files(folder), progress=False)
    scores = (texts @ images.T).numpy()
    for row, hits in zip(scores, gallery.search(sentences, k=6), strict=True):
        assert [hit.path for hit in hits] == [str(files(folder)[i]) for i in np.argsort(-row, kind="stable")]
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(row)[::-1], atol=1e-5)


def test_one_sentence_gives_one_list_and_several_give_lists(gallery, folder, sentences):
    gallery.add(folder)
    assert [hit.id for hit in gallery.search(sentences[0], k=2)] == [h.id for h in gallery.search(sentences, k=2)[0]]
    assert gallery.search([], k=2) == []


def test_a_reopened_gallery_gives_equal_hits(gallery, reopen, folder):
    gallery.add(folder, metadata=[{"camera": index} for index in range(6)], commit_every=4)
    assert reopen().count() == 6
    assert_same(reopen().search(QUERY, k=6), gallery.search(QUERY, k=6))


def test_reopens_with_a_model_that_was_saved_and_loaded(gallery, folder, tmp_path, tiny_model, tiny_processor):
    gallery.add(folder)
    tiny_model.save_pretrained(tmp_path / "model")
    tiny_processor.save_pretrained(tmp_path / "model")
    model, processor = (kind.from_pretrained(tmp_path / "model") for kind in (AutoModel, AutoProcessor))
    again = Gallery.open(tmp_path / "gallery", model, processor)
    assert_same(again.search(QUERY, k=6), gallery.search(QUERY, k=6))


def test_add_in_two_goes_skips_what_is_there(gallery, reopen, folder, monkeypatch):
    gallery.add(files(folder)[:4])
    encoded = []

    def counting(model, processor, images, **settings):
        encoded.extend(images)
        return encode_images(model, processor, images, **settings)

    monkeypatch.setattr("tbps.gallery.ingest.encode_images", counting)
    again = reopen()
    assert [hit.path for hit in again.get(again.add(folder).added)] == [str(path) for path in files(folder)[4:]]
    assert (len(encoded), again.count()) == (2, 6)
    assert again.add(folder).added == []
    assert gallery.count() == 4, "a gallery opened before sees what was there then"
    assert gallery.add(folder).added == [], "but never adds twice"
    assert gallery.count() == 6


def test_the_same_file_under_several_names_is_one_image(gallery, folder, monkeypatch):
    monkeypatch.chdir(folder)
    shutil.copy("a/0.png", "a/copy.png")
    [known] = gallery.add(["a/0.png", folder / "a" / "0.png", str(folder / "a" / "0.png"), "a/copy.png"]).added
    assert gallery.get([known])[0].path == str(folder / "a" / "0.png")
    assert gallery.add(folder / "a" / "copy.png").added == []


def test_a_file_with_new_content_is_a_new_image(gallery, folder, pictures):
    gallery.add(folder / "a" / "0.png")
    pictures[3].save(folder / "a" / "0.png")
    assert len(gallery.add(folder / "a" / "0.png").added) == 1


def test_vectors_stay_on_disk_where_other_programs_can_read_them(tmp_path):
    vectors = np.arange(4096 * 48, dtype=np.float32).reshape(4096, 48)
    rows = [Row(str(n), None, "{}") for n in range(4096)]
    origin = Origin(ModelIdentity("m", "f", 48), LAYOUT, "0.1.0", 3)
    entry = write_batch(tmp_path / "shard-000000.arrow", make_batch(rows, vectors, origin))
    before = pa.total_allocated_bytes()
    shard = Shard(tmp_path, entry, origin)
    np.testing.assert_array_equal(shard.vectors(slice(None)), vectors)
    assert shard.vectors(slice(None)).base is not None, "a view of the file"
    assert pa.total_allocated_bytes() - before < vectors.nbytes / 10
    table = datasets.Dataset.from_file(str(tmp_path / "shard-000000.arrow"))
    texts = [field.name for field in dataclasses.fields(Row)]
    assert table.column_names == [*texts, "code", "scale", "length", "slack", "reach", "embedding"]
    assert table[5]["embedding"] == vectors[5].tolist()


def test_pictures_in_memory_are_known_by_their_content(gallery, pictures):
    assert len(gallery.add(pictures, metadata=[{"n": n} for n in range(4)]).added) == 4
    assert gallery.add([pictures[2].copy()]).added == []
    hits = gallery.search(QUERY, k=4)
    assert {hit.path for hit in hits} == {None}
    assert {hit.metadata["n"] for hit in hits} == {0, 1, 2, 3}


def test_a_dataset_keeps_its_scalar_columns_but_no_captions(gallery, rows):
    table = rows.add_column("caption", ["seen from behind"] * len(rows))
    assert len(gallery.add(table).added) == len(rows)
    hit = gallery.search(QUERY, k=1)[0]
    assert set(hit.metadata) == {"person_id", "file_path"}
    assert hit.path is not None
    assert hit.path.endswith(hit.metadata["file_path"])


def test_a_dataset_that_holds_the_bytes_has_no_paths(gallery, reopen, rows):
    paths = [cell["path"] for cell in rows.cast_column("image", datasets.Image(decode=False))["image"]]
    cells = [{"bytes": Path(path).read_bytes(), "path": None} for path in paths]
    table = datasets.Dataset.from_dict({"image": cells}).cast_column("image", datasets.Image())
    assert len(gallery.add(table).added) == len(rows)
    assert reopen().add(table).added == []
    assert gallery.search(QUERY, k=1)[0].path is None


def test_equal_scores_come_in_the_order_of_insertion(gallery, reopen, tmp_path, tiny_model, tiny_processor):
    store = FolderStore.open(tmp_path / "gallery", identify(tiny_model, tiny_processor), LAYOUT)
    rng = np.random.default_rng(0)
    vectors = rng.integers(-1, 2, (9, 48)).astype(np.float32)  # whole numbers: every score is exact
    vectors[[1, 4, 8]] = vectors[0]
    with store.writing():
        for rows in ([0], [1, 2, 3], [4, 5], [6, 7, 8]):
            store.append([Row(f"row {row}", None, "{}") for row in rows], vectors[rows])
    scores = vectors @ vectors[0]
    expected = [f"row {row}" for row in np.argsort(-scores, kind="stable")]
    assert expected[:4] == ["row 0", "row 1", "row 4", "row 8"]
    for k in range(1, 10):
        hits = reopen().search_embeddings(torch.from_numpy(vectors[:1]), k)[0]
        assert [hit.id for hit in hits] == expected[:k]
        assert [hit.score for hit in hits] == np.sort(scores)[::-1][:k].tolist()


def test_a_bad_image_stops_the_run_and_loses_nothing(gallery, reopen, folder):
    bad = files(folder)[3]
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(BadImageError, match=r"b/0\.png.*skip_bad=True"):
        gallery.add(folder, batch_size=2)
    assert reopen().count() == 3
    result = gallery.add(folder, skip_bad=True)
    assert (len(result.added), result.unchanged, len(result.skipped)) == (2, 3, 1)
    assert reopen().count() == 5


def test_any_other_failure_loses_nothing_that_was_encoded(gallery, reopen, folder, monkeypatch):
    calls = []

    def fail_third(*arguments, **settings):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode_images(*arguments, **settings)

    monkeypatch.setattr("tbps.gallery.ingest.encode_images", fail_third)
    with pytest.raises(KeyboardInterrupt):
        gallery.add(folder, batch_size=2)
    assert reopen().count() == 4
    assert len(gallery.add(folder).added) == 2


@pytest.mark.parametrize(
    ("images", "metadata", "error", "match"),
    [
        ({"train": []}, None, TypeError, "choose a split"),
        ([3], None, TypeError, "Image 0 is a int"),
        (["a.png"], [], ValueError, "0 metadata dicts for 1 images"),
        (["a.png"], ["x"], TypeError, r"metadata\[0\] is a str"),
        ([Image.new("RGB", (4, 4))], [{"x": object()}], TypeError, r"metadata\[0\] cannot be stored as JSON"),
        ("no/such/folder", None, FileNotFoundError, "no/such/folder"),
        (datasets.Dataset.from_dict({"img": [1]}), None, ValueError, r"columns \['img'\]"),
    ],
)
def test_refuses_what_it_cannot_add(gallery, images, metadata, error, match):
    with pytest.raises(error, match=match):
        gallery.add(images, metadata)
    assert gallery.count() == 0


@pytest.mark.parametrize(
    ("query", "k", "error", "match"),
    [
        (QUERY, 0, ValueError, "k=0: expected 1 or more"),
        (QUERY, 7, ValueError, "k=7 is more than the 6 images"),
        ("", 1, ValueError, "''"),
        ([QUERY, " \n"], 1, ValueError, r"Text 1 of 2 is ' \\n'"),
        ([3], 1, TypeError, "Cannot search for 3"),
    ],
)
def test_refuses_what_it_cannot_search(gallery, folder, query, k, error, match):
    gallery.add(folder)
    with pytest.raises(error, match=match):
        gallery.search(query, k=k)


def test_an_empty_gallery_says_so(gallery):
    with pytest.raises(GalleryError, match="is empty"):
        gallery.search(QUERY)


def test_refuses_queries_of_another_width_or_without_numbers(gallery, folder):
    gallery.add(folder)
    with pytest.raises(ValueError, match=r"expected \(Q, 48\)"):
        gallery.search_embeddings(torch.zeros(2, 47), k=1)
    with pytest.raises(ValueError, match="NaN"):
        gallery.search_embeddings(torch.full((1, 48), torch.nan), k=1)


def test_a_model_that_gives_no_numbers_is_noticed(tmp_path, folder, tiny_model, tiny_processor):
    with torch.no_grad():
        tiny_model.visual_projection.weight.fill_(torch.nan)
    gallery = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)
    with pytest.raises(GalleryError, match=r"no finite vector for .*a/0\.png"):
        gallery.add(folder)
    assert gallery.count() == 0


def test_refuses_another_model(gallery, folder, tmp_path, tiny_model, tiny_processor, model_factory):
    gallery.add(folder)
    where = tmp_path / "gallery"
    other = model_factory()
    other.config.name_or_path = "somebody/other"
    with torch.no_grad():
        other.part_decoder.queries[0] += 1
    with pytest.raises(
        GalleryError, match=r"'unnamed model' \(fingerprint .* 'somebody/other' \(fingerprint .*another place"
    ):
        Gallery.open(where, other, tiny_processor)
    with pytest.raises(GalleryError, match="part_weight"):
        Gallery.open(where, model_factory(part_weight=0.25), tiny_processor)
    narrow = TBPSProcessor(
        TBPSImageProcessor(size={"height": 32, "width": 16}, do_normalize=False), tiny_processor.tokenizer
    )
    with pytest.raises(GalleryError, match="image processor"):
        Gallery.open(where, tiny_model, narrow)


def test_the_instance_head_is_no_part_of_the_model_identity(gallery, folder, tmp_path, tiny_model, tiny_processor):
    gallery.add(folder)
    tiny_model.id_head = torch.nn.Linear(24, 5)
    assert Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor).count() == 6


@pytest.mark.parametrize("change", ["pooling", "heads", "words"])
def test_the_same_weights_in_another_model_are_refused(gallery, tmp_path, pictures, tiny_model, tiny_processor, change):
    gallery.add(pictures)
    if change == "pooling":
        tiny_model.config.pooling = "mean"
    elif change == "heads":
        tiny_model.config.vision_config.num_attention_heads = 2
    else:
        tiny_processor.tokenizer.add_tokens(["cloak"])
    with pytest.raises(GalleryError, match="fingerprint"):
        Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)


def test_ten_hits_or_all_of_a_smaller_gallery(gallery, pictures):
    gallery.add(pictures)
    assert len(gallery.search(QUERY)) == 4
    with pytest.raises(TypeError, match="k='3': expected an integer"):
        gallery.search(QUERY, k="3")
    with pytest.raises(TypeError, match="Cannot search for 5"):
        gallery.search(5)


def test_only_settings_that_change_an_embedding_make_another_model(
    model_factory: Callable[..., TBPSModel], tiny_processor: TBPSProcessor
) -> None:
    same = model_factory()
    known = identify(same, tiny_processor).fingerprint
    trained = {"cmr_margin": 0.7, "cmr_negatives": "hardest", "commonality": "none", "part_matching_scale": 9.0}
    assert identify(model_factory(**trained), tiny_processor).fingerprint == known
    for setting in ({"part_attention": "parts"}, {"part_weight": 0.1}):
        assert identify(model_factory(**setting), tiny_processor).fingerprint != known
