"""Other metadata, paths and thumbnails for images that are in a gallery; the contract's tests say so of every store."""

import os
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from kill_at import kill_at

from tbps.evaluation.encoding import encode_images
from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery import Filter, Gallery, GalleryError
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.metadata import make_row
from tbps.gallery.store import Layout

SENTENCE = "a person with a red coat"


@pytest.fixture
def crops(make_crops):
    return make_crops(6)


@pytest.fixture(params=["float32", "float16", "int8"])
def gallery(request, tmp_path, crops, tiny_model, tiny_processor):
    gallery = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor, dtype=request.param)
    gallery.add(crops, [{"camera": "a", "n": n} for n in range(6)], commit_every=2)
    return gallery


def metadata(gallery):
    """By the number of the picture."""
    return {hit.metadata["n"]: hit.metadata for hit in gallery.search(SENTENCE, k=gallery.count())}


def test_names_are_set_or_taken_out_and_others_stay(gallery):
    ids = {hit.metadata["n"]: hit.id for hit in gallery.search(SENTENCE, k=6)}
    scores = {hit.id: hit.score for hit in gallery.search(SENTENCE, k=6)}
    changes = {ids[1]: {"camera": "b", "timestamp": "2026-05-01"}, ids[4]: {"camera": None, "m": 1}, "never": {"m": 2}}
    result = gallery.update(changes)
    assert (result.updated, result.unknown) == ([ids[1], ids[4]], ["never"])
    expected = {n: {"camera": "a", "n": n} for n in range(6)}
    expected |= {1: {"camera": "b", "n": 1, "timestamp": "2026-05-01"}, 4: {"n": 4, "m": 1}}
    assert metadata(gallery) == expected
    assert [hit.id for hit in gallery.search(SENTENCE, where=Filter(camera="b", since="2026-05-01"))] == [ids[1]]
    assert len(gallery.search(SENTENCE, where=Filter(camera="a"))) == 4
    found = {hit.id: hit.score for hit in gallery.search(SENTENCE, k=6)}
    assert found == pytest.approx(scores, abs=2e-3 if gallery._store.layout.dtype == "int8" else 1e-6)
    assert gallery.update(changes).updated == [], "nothing is left to change"
    gallery.compact(progress=False)
    gallery.check(progress=False)
    assert metadata(gallery) == expected


def test_what_cannot_be_kept_changes_nothing(gallery):
    [one, two] = [hit.id for hit in gallery.search(SENTENCE, k=2)]
    before = metadata(gallery)
    for entry, error in (({"x": object()}, "cannot be stored as JSON"), ({"camera": []}, "camera="), ("b", "is a str")):
        with pytest.raises(TypeError, match=rf"metadata\['{two}'\].*{error}"):
            gallery.update({one: {"camera": "b"}, two: entry})
    with pytest.raises(ValueError, match="'noon' is not a time"):
        gallery.update({one: {"timestamp": "noon"}})
    with FolderStore.read(Path(gallery._store.where)).writing(), pytest.raises(GalleryError, match="Another process"):
        gallery.update({one: {"camera": "b"}})
    assert metadata(gallery) == before


def test_adding_again_updates_only_when_asked_and_never_encodes(gallery, crops, pictures, tmp_path, monkeypatch):
    encoded = []

    def counting(model, processor, images, **settings):
        encoded.extend(images)
        return encode_images(model, processor, images, **settings)

    monkeypatch.setattr("tbps.gallery.ingest.encode_images", counting)
    moved = crops.rename(tmp_path / "moved")
    cameras = [{"camera": "a"} if n < 2 else {"camera": "b", "n": n} for n in range(6)]
    assert gallery.add(moved, cameras).unchanged == 6
    assert metadata(gallery)[2] == {"camera": "a", "n": 2}
    pictures[0].rotate(50).save(moved / "new.png")
    result = gallery.add(moved, [*cameras, {"n": 6}], update=True, commit_every=3)
    assert (len(result.added), len(result.updated), result.unchanged, len(encoded)) == (1, 6, 0, 1)
    assert metadata(gallery) == {n: {"camera": "a" if n < 2 else "b", "n": n} for n in range(6)} | {6: {"n": 6}}
    assert {hit.path for hit in gallery.search(SENTENCE, k=7)} == {str(path) for path in moved.iterdir()}
    again = gallery.add(moved, update=True)
    assert (again.added, again.updated, again.unchanged) == ([], [], 7), "nothing given, nothing changed"
    thumbnails = gallery.add(moved, update=True, thumbnails=True)
    assert (len(thumbnails.updated), len(encoded)) == (7, 1)
    assert all(hit.image for hit in gallery.search(SENTENCE, k=7))
    assert gallery.add(moved, update=True, thumbnails=True).updated == []


def test_of_an_image_that_comes_twice_the_first_counts(gallery, crops):
    (crops / "copy of 0.png").write_bytes((crops / "0.png").read_bytes())
    order = [crops / "0.png", crops / "1.png", crops / "copy of 0.png"]
    for commit_every in (1, 3):
        cameras = [{"camera": f"{commit_every}"}, {}, {"camera": "no"}]
        result = gallery.add(order, cameras, update=True, commit_every=commit_every)
        assert (len(result.updated), result.unchanged) == (1, 2)
        assert gallery.get(result.updated)[0].metadata["camera"] == f"{commit_every}"
        assert gallery.get(result.updated)[0].path == str(crops / "0.png")


def test_a_dataset_without_files_keeps_the_path(gallery, crops):
    cells = [{"bytes": (crops / "3.png").read_bytes(), "path": None}]
    table = datasets.Dataset.from_dict({"image": cells, "track": [7]}).cast_column("image", datasets.Image())
    [id] = gallery.add(table, update=True).updated
    assert gallery.get([id])[0].path == str(crops / "3.png")
    assert gallery.get([id])[0].metadata == {"camera": "a", "n": 3, "track": 7}


ROWS = [make_row(f"{n}", None, {"camera": "old"}) for n in range(6)]
NEW = [make_row(f"{n}", None, {"camera": "new"}) for n in (1, 2, 5)]
VECTORS = np.eye(6, 16, dtype=np.float32)


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_killed_at_any_step_of_an_update_all_rows_are_old_or_all_new(tmp_path):
    store = FolderStore.open(tmp_path / "gallery", ModelIdentity("m", "f", 16), Layout("float32", 8, 2, 4))
    with store.writing():
        store.append(ROWS[:3], VECTORS[:3])
        store.append(ROWS[3:], VECTORS[3:])
    seen = []
    killed = True
    while killed:
        child = os.fork()
        if not child:
            kill_at(len(seen), "fsync", "replace")
            store = FolderStore.read(tmp_path / "gallery")
            with store.writing():
                store.replace(NEW)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        opened = FolderStore.read(tmp_path / "gallery")
        opened.check(progress=False)
        assert opened.count() == 6
        seen.append(sorted(row.camera for row in (found.row for found in opened.get(["1", "2", "5"]))))
    assert seen == [["old"] * 3] * 5 + [["new"] * 3] * 3, "new as soon as the manifest was renamed"
