"""Adding with several processes."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from launch import torchrun

from tbps import Gallery
from tbps.fingerprint import ModelIdentity
from tbps.gallery import store
from tbps.gallery.home import Row
from tbps.gallery.manifest import Layout
from tbps.gallery.store import Store


def test_two_processes_share_the_work_and_write_each_image_once(tmp_path, pictures, tiny_model, tiny_processor):
    tiny_model.save_pretrained(tmp_path / "model")
    tiny_processor.save_pretrained(tmp_path / "model")
    crops = tmp_path / "crops"
    crops.mkdir()
    for index in range(19):
        pictures[index % 4].rotate(index).save(crops / f"{index:02d}.png")
    (crops / "07.png").write_text("no image")
    seen = json.loads(torchrun("distributed_gallery.py", tmp_path / "model", crops, tmp_path / "two"))
    alone = Gallery.open(tmp_path / "one", tiny_model, tiny_processor)
    with pytest.warns(UserWarning, match=r"1 images could not be read.*\n.*07\.png"):
        expected = alone.add(crops, skip_bad=True, batch_size=2, commit_every=8)
    assert seen == [{"added": expected, "again": [], "count": 18}] * 2
    together = Gallery.open(tmp_path / "two", tiny_model, tiny_processor)
    for one, other in zip(together.search("a red coat", k=18), alone.search("a red coat", k=18), strict=True):
        assert (one.id, one.path) == (other.id, other.path)
        assert one.score == pytest.approx(other.score, abs=1e-6)


def test_who_opens_a_gallery_that_another_process_just_made_does_not_wait_for_it(tmp_path):
    """The other one may be adding already, and waiting for this one to take its share."""
    identity, layout = ModelIdentity("m", "f", 16), Layout("float32", 8, 2, 4)
    maker = Store.open(tmp_path / "gallery", identity, layout)
    with ThreadPoolExecutor(1) as pool, maker.writing():
        maker.append([Row("a", None, "{}")], np.ones((1, 16), np.float32))
        # what Store.open does where the manifest was not there a moment ago
        pool.submit(store._create, tmp_path / "gallery", identity, layout).result(timeout=30)
    assert Store.read(tmp_path / "gallery").count() == 1
