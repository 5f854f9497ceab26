"""Images that cannot be added: which ones stop the run, which are skipped, and what is said of them."""

import os
import sys
from pathlib import Path

import pytest

from tbps.data.images import BadImageError
from tbps.gallery import Gallery


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
