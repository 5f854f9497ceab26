"""Folders of images: every format that opens here is found, and files that do not open are named."""

import contextlib
import os
from pathlib import Path

import pytest
from PIL import Image

from tbps.data.images import BadImageError, find_images, list_images, open_image


def test_list_images_sorts_and_searches_sub_folders(tmp_path):
    wanted = ["a.JPG", "b/c.png", "b/d/e.jpeg", "z.WebP"]
    for name in [*wanted, "notes.txt", "._a.jpg", "b/.hidden.png"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "folder.png").mkdir()
    assert list_images(tmp_path) == [tmp_path / Path(name) for name in wanted]


def test_list_images_takes_links_to_files_and_hidden_folders_but_no_linked_folders(tmp_path):
    (tmp_path / "images" / ".kept").mkdir(parents=True)
    (tmp_path / "images" / ".kept" / "a.png").touch()
    (tmp_path / "images" / "link.png").symlink_to(".kept/a.png")
    (tmp_path / "images" / "nowhere.png").symlink_to("gone.png")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.png").touch()
    (tmp_path / "images" / "linked").symlink_to(tmp_path / "other", target_is_directory=True)
    assert list_images(tmp_path / "images") == [
        tmp_path / "images" / ".kept" / "a.png",
        tmp_path / "images" / "link.png",
    ]


def test_list_images_of_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone is not a folder"):
        list_images(tmp_path / "gone")
    with pytest.raises(BadImageError, match="holds no image"):
        list_images(tmp_path)


# formats without an image that Pillow can show, and one whose files are programs for Ghostscript
NOT_SHOWN = {"EPS", "PDF", "MPEG", "BUFR", "GRIB", "HDF5", "WMF", "IPTC", "PALM"}


def test_every_ending_that_pillow_opens_is_taken_from_a_folder(tmp_path, photo):
    """Whatever can be written here is, under each of its endings, and read again."""
    Image.init()
    written = []
    for suffix, name in Image.registered_extensions().items():
        if name not in Image.SAVE or name in NOT_SHOWN:
            continue
        for mode in ("RGB", "L", "1", "P"):
            path = tmp_path / f"{name}_{suffix[1:]}{suffix.upper()}"
            with contextlib.suppress(OSError, ValueError, KeyError):
                photo.resize((32, 64)).convert(mode).save(path, name)
                written.append(path)
                break
    assert {"AVIF", "JPEG2000", "TGA", "PPM", "MPO", "JPEG", "WEBP", "QOI"} <= {
        path.name.split("_")[0] for path in written
    }
    assert list_images(tmp_path) == sorted(written)
    for path in written:
        assert open_image(path).mode == "RGB", path


def test_images_that_do_not_open_here_are_named_and_other_files_are_not(tmp_path):
    (tmp_path / "b").mkdir()
    for name in (
        "a.HEIC",
        "b/raw.nef",
        "b/drawing.svg",
        "page.eps",
        "weights.pt",
        "notes.txt",
        "x.pdf",
        ".c.heic",
        "film.mpg",
    ):
        (tmp_path / name).write_text("?")
    with pytest.raises(BadImageError, match=r"holds no image.*4 were left out.*a\.HEIC.*install pillow-heif"):
        find_images(tmp_path)
    Image.new("RGB", (2, 4)).save(tmp_path / "good.jfif", "JPEG")
    found = find_images(tmp_path)
    assert found.paths == [tmp_path / "good.jfif"]
    assert [Path(name).name for name, _ in found.left_out] == ["a.HEIC", "drawing.svg", "raw.nef", "page.eps"]
    assert all(name in reason and "cannot open here" in reason for name, reason in found.left_out)


def test_a_plugin_makes_its_files_images(tmp_path, monkeypatch):
    """As pillow-heif does when it is registered."""
    Image.new("RGB", (2, 4)).save(tmp_path / "a.heic", "BMP")
    monkeypatch.setitem(Image.EXTENSION, ".heic", "BMP")
    assert list_images(tmp_path) == [tmp_path / "a.heic"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    scan = os.scandir

    def denied(path):
        if os.fspath(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", denied)
    (tmp_path / "secret").mkdir()
    (tmp_path / "a.png").touch()
    ((name, reason),) = find_images(tmp_path).left_out
    assert name == str(tmp_path / "secret")
    assert "secret cannot be listed (Permission denied)" in reason
    with pytest.raises(BadImageError, match=r"secret cannot be listed \(Permission denied\)"):
        find_images(tmp_path / "secret")


def test_a_folder_that_may_be_listed_and_not_entered_is_named(tmp_path, monkeypatch):
    ask = os.stat

    def denied(path, **options):
        if os.fspath(path).endswith("b.png"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return ask(path, **options)

    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").touch()
    monkeypatch.setattr(os, "stat", denied)
    found = find_images(tmp_path)
    assert found.paths == [tmp_path / "a.png"]
    assert [name for name, _ in found.left_out] == [str(tmp_path / "b.png")]
