"""Images that cannot be added: which ones stop the run, which are skipped, and what is said of them."""

import errno
import os
import sys
from pathlib import Path

import datasets
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


def test_all_that_is_skipped_is_named_with_the_reason(gallery, folder, latin, tmp_path):
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:60])
    (folder / "empty\n.png").touch()
    result = gallery.add(folder, skip_bad=True, batch_size=2)
    assert [Path(hit.path).name for hit in gallery.get(result.added)] == ["0.png", "3.png", "copy.png"]
    assert [Path(one.name).name for one in result.skipped] == ["1.png", "2 photo \\xe9.png", "empty\\n.png"]
    for one, reason in zip(result.skipped, ["truncated", "not UTF-8", "0 bytes"], strict=True):
        assert Path(one.name).stem in one.reason
        assert reason in one.reason
        assert Path(one.name).parent == folder
    again = gallery.add(folder, skip_bad=True)
    assert (again.added, again.unchanged, again.skipped) == ([], 3, result.skipped)


def test_bad_pictures_in_memory_are_named_by_their_position(gallery, folder, tmp_path):
    (tmp_path / "cut.png").write_bytes((folder / "0.png").read_bytes()[:60])
    with Image.open(tmp_path / "cut.png") as cut, pytest.raises(BadImageError, match=r"image 1 of the list.*cut\.png"):
        gallery.add([Image.open(folder / "0.png"), cut])
    cells = [{"bytes": b"\x00", "path": None}, {"bytes": b"", "path": None}]
    table = datasets.Dataset.from_dict({"image": cells}).cast_column("image", datasets.Image())
    names = [one.name for one in gallery.add(table, skip_bad=True).skipped]
    assert names == ["row 0 of the dataset", "row 1 of the dataset"]


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
    assert gallery.add([]).added == []
    assert sorted(tmp_path.rglob("*")) == before
    assert gallery.count() == 0
    assert len(gallery.add([folder / "1.png", folder / "2.png"]).added) == 2, "it can be made all the same"
    assert Gallery.open(tmp_path / name, tiny_model, tiny_processor).count() == 2


def test_a_disk_that_is_full_at_the_first_image_leaves_nothing_behind(gallery, folder, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tbps.gallery.folder.state.write_batch", full)
    with pytest.raises(GalleryError, match="No space left"):
        gallery.add(folder)
    assert not (tmp_path / "gallery").exists()
    monkeypatch.undo()
    assert len(gallery.add(folder).added) == 4
    monkeypatch.setattr("tbps.gallery.folder.state.write_batch", full)
    with pytest.raises(GalleryError, match="The gallery is as it was before"):
        gallery.add([Image.new("RGB", (16, 32))])
    assert Gallery.open(tmp_path / "gallery", gallery._model, gallery._processor).count() == 4


@pytest.mark.parametrize(("step", "kept"), [(0, 0), (1, 0), (2, 0), (3, 4), (4, 4)])
def test_interrupted_after_any_rename_of_the_first_commit_it_opens_and_goes_on(
    gallery, folder, tmp_path, monkeypatch, step, kept
):
    """Renamed are the empty manifest, its copy, the images' file, the manifest that names it, and its copy."""
    rename, renamed = os.replace, []

    def interrupted(*arguments):
        rename(*arguments)
        renamed.append(arguments)
        if len(renamed) > step:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        gallery.add(folder)
    monkeypatch.undo()
    again = Gallery.open(tmp_path / "gallery", gallery._model, gallery._processor)
    assert again.count() == kept
    for one in (again, gallery):
        one.add(folder)
        assert one.count() == 4
