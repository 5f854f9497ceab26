"""Adding with several processes."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict

import numpy as np
import pytest
from repository import torchrun

from tbps import Gallery
from tbps.evaluation.encoding import encode_images
from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import Layout, Row
from tbps.gallery.stored_image import content_id


def test_two_processes_share_the_work_and_write_each_image_once(tmp_path, pictures, tiny_model, tiny_processor):
    tiny_model.save_pretrained(tmp_path / "model")
    tiny_processor.save_pretrained(tmp_path / "model")
    crops = tmp_path / "crops"
    crops.mkdir()
    for index in range(19):
        pictures[index % 4].rotate(index).save(crops / f"{index:02d}.png")
    (crops / "07.png").write_text("no image")
    contents = {content_id(path): path.read_bytes() for path in crops.iterdir()}
    before = list(contents.values())
    seen = json.loads(torchrun("distributed_gallery.py", tmp_path / "model", crops, tmp_path / "two"))
    check_overwritten(
        tmp_path / "two_overwritten", contents, [one.pop("changed") for one in seen], tiny_model, tiny_processor
    )
    for path, content in zip(crops.iterdir(), before, strict=True):
        path.write_bytes(content)
    alone = Gallery.open(tmp_path / "one", tiny_model, tiny_processor)
    expected = asdict(alone.add(crops, skip_bad=True, batch_size=2, commit_every=8))
    assert (len(expected["added"]), [skipped["name"] for skipped in expected["skipped"]]) == (18, [f"{crops}/07.png"])
    again = {**expected, "added": [], "not_crops": [], "unchanged": 18}
    updated = {**again, "updated": expected["added"], "unchanged": 0}
    assert seen == [{"first": expected, "again": again, "updated": updated, "count": 18}] * 2
    together = Gallery.open(tmp_path / "two", tiny_model, tiny_processor)
    for one, other in zip(together.search("a red coat", k=18), alone.search("a red coat", k=18), strict=True):
        assert (one.id, one.path) == (other.id, other.path)
        assert one.score == pytest.approx(other.score, abs=1e-6)


def check_overwritten(where, contents, results, model, processor):
    """Each vector is that of the content whose hash is its id, and none is there twice."""
    gallery = Gallery.open(where, model, processor)
    assert results[0] == results[1]
    assert results[0]["count"] == len(set(results[0]["added"])) == gallery.count() == 12
    assert results[0]["unchanged"] + results[0]["skipped"] + 12 == 19
    vectors = encode_images(model, processor, [contents[id] for id in results[0]["added"]], progress=False)
    for id, (best, *_) in zip(results[0]["added"], gallery.search_embeddings(vectors, 1), strict=True):
        assert best.id == id
        assert best.score == pytest.approx(1, abs=1e-5)


def new_store(directory):
    return FolderStore.open(directory, ModelIdentity("m", "f", 16), Layout("float32", 8, 2, 4))


def add_row(store, id):
    store.append([Row(id, None, "{}")], np.ones((1, 16), np.float32))


def test_who_opens_a_gallery_that_another_process_is_making_does_not_wait_for_it(tmp_path):
    """The other one may be adding already, and waiting for this one to take its share."""
    maker, other = new_store(tmp_path / "gallery"), new_store(tmp_path / "gallery")
    with ThreadPoolExecutor(1) as pool, maker.writing():
        assert pool.submit(lambda: new_store(tmp_path / "gallery").count()).result(timeout=30) == 0
        add_row(maker, "a")
        assert pool.submit(lambda: new_store(tmp_path / "gallery").count()).result(timeout=30) == 1
    other.refresh()
    assert other.count() == 1


def test_of_two_that_make_a_gallery_with_different_models_the_later_is_refused(tmp_path):
    first, second = (
        new_store(tmp_path / "gallery"),
        FolderStore.open(tmp_path / "gallery", ModelIdentity("another", "g", 16), Layout("float32", 8, 2, 4)),
    )
    with first.writing():
        add_row(first, "a")
    with pytest.raises(GalleryError, match=r"made with 'm'.*opened with 'another'"), second.writing():
        add_row(second, "b")
    assert FolderStore.read(tmp_path / "gallery").count() == 1


@pytest.mark.parametrize("error", [FileNotFoundError, FileExistsError])
def test_a_folder_that_another_process_is_removing_is_busy(tmp_path, monkeypatch, error):
    """The lock's own making of the folder meets it there and then not, or the other way round."""

    def acquire(lock, timeout):
        raise error("the folder")

    monkeypatch.setattr("tbps.data.atomic_files.FileLock.acquire", acquire)
    with pytest.raises(GalleryError, match="Another process is writing"), new_store(tmp_path / "gallery").writing():
        pass


def test_makers_that_fail_take_nothing_from_those_that_do_not(tmp_path):
    """Some fail before their first row, which removes what they made, while others come and go."""

    def make(directory, worker):
        store = new_store(directory)
        with suppress(GalleryError, KeyboardInterrupt), store.writing():
            if worker % 2:
                raise KeyboardInterrupt
            add_row(store, f"{worker}")
            return 1
        return 0

    with ThreadPoolExecutor(6) as pool:
        for attempt in range(25):
            directory = tmp_path / f"{attempt}" / "gallery"
            made = sum(pool.map(make, [directory] * 12, range(12)))
            assert new_store(directory).count() == made
