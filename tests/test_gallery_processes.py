"""Adding with several processes."""

import json

import pytest
from launch import torchrun

from tbps import Gallery


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
