"""Images that cannot be added: which ones stop the run, which are skipped, and what is said of them."""

import errno
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from tbps.data.images import BadImageError
from tbps.gallery import Gallery, GalleryError


@pytest.fixture
def gallery(tmp_path, tiny_model, tiny_processor):
    return Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)


@pytest.fixture
def folder(tmp_path, pictures):
    """Four images: 0.png to 3.png."""
    (tmp_path / "crops").mkdir()
    for n, picture in enumerate(pictures):
        picture.save(tmp_path / "crops" / f"{n}.png")
    return tmp_path / "crops"


@pytest.fixture
def latin(folder):
    """2.png, renamed by somebody who writes Latin-1, and a copy of it that sorts behind."""
    if sys.platform != "linux":
        pytest.skip("other systems refuse names that are not Unicode")
    (folder / "copy.png").write_bytes((folder / "2.png").read_bytes())
    return Path((folder / "2.png").rename(folder / os.fsdecode(b"2 photo \xe9.png")))


def test_a_name_that_is_not_utf8_stops_the_run_and_loses_nothing(gallery, folder, latin):
    with pytest.raises(BadImageError, match=r"2 photo \\xe9\.png: this name is not UTF-8.*Rename.*skip_bad=True"):
        gallery.add(folder)
    assert gallery.count() == 2


@pytest.mark.parametrize("name", ["new", "deep/er/new", "empty"])
def test_what_fails_before_its_first_image_leaves_nothing_behind(tmp_path, folder, tiny_model, tiny_processor, name):
    (tmp_path / "empty").mkdir()
    (folder / "0.png").write_text("no image")
    before = sorted(tmp_path.rglob("*"))
    gallery = Gallery.open(tmp_path / name, tiny_model, tiny_processor)
    with pytest.raises(BadImageError, match=r"0\.png"):
        gallery.add(folder)
    with pytest.raises(FileNotFoundError):
        gallery.add(tmp_path / "no such folder")
    assert gallery.add([]) == []
    assert sorted(tmp_path.rglob("*")) == before
    assert gallery.count() == 0
    assert len(gallery.add([folder / "1.png", folder / "2.png"])) == 2, "it can be made all the same"
    assert Gallery.open(tmp_path / name, tiny_model, tiny_processor).count() == 2


def test_a_disk_that_is_full_at_the_first_image_leaves_nothing_behind(gallery, folder, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tbps.gallery.store.write_shard", full)
    with pytest.raises(GalleryError, match="No space left"):
        gallery.add(folder)
    assert not (tmp_path / "gallery").exists()
    monkeypatch.undo()
    assert len(gallery.add(folder)) == 4
    monkeypatch.setattr("tbps.gallery.store.write_shard", full)
    with pytest.raises(GalleryError, match="what the gallery held before is kept"):
        gallery.add([Image.new("RGB", (16, 32))])
    assert Gallery.open(tmp_path / "gallery", gallery._model, gallery._processor).count() == 4
