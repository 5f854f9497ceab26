"""Only regular files of a bounded size are read, and nothing is waited for."""

import io
import os
import socket
import sys
from pathlib import Path

import pytest

from tbps.cli.metadata_file import read_metadata
from tbps.data.atomic_files import content_hash, file_checksum
from tbps.data.benchmarks import find_benchmark, read_annotation
from tbps.data.corpora.formats import Entry
from tbps.data.corpora.readers import iter_json_items, iter_parquet_rows
from tbps.data.corpora.writer import read_row
from tbps.data.images import open_image
from tbps.data.preprocessing import read_jpeg
from tbps.files_tbps import open_regular, read_regular
from tbps.gallery.calibration import Calibration
from tbps.training.recipe import read_recipe

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs FIFOs, devices and sockets")


@pytest.fixture(params=["FIFO", "socket", "folder", "character device"])
def other(request, tmp_path, monkeypatch):
    """Something that is no regular file, behind a link too, and what it is called."""
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    if request.param == "FIFO":
        os.mkfifo("other")
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("other")
    elif request.param == "folder":
        os.mkdir("other")
    else:
        os.symlink("/dev/zero", "other")
    os.symlink("other", "link")
    return request.param


@pytest.mark.parametrize("name", ["other", "link"])
def test_whatever_is_no_regular_file_is_named(other, name):
    with pytest.raises(ValueError, match=rf"{name} is a {other}: expected a regular file"):
        read_regular(name, 100)


def test_what_is_larger_than_allowed_is_not_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(ValueError, match="more than 4 bytes"):
        read_regular(path, 4)
    with pytest.raises(ValueError, match="more than 4 bytes"):
        open_regular(path, 4)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs /proc")
def test_a_file_of_the_kernel_says_that_it_has_no_bytes():
    with pytest.raises(ValueError, match="more than 10 bytes"):
        read_regular("/proc/self/maps", 10)


def test_a_file_that_has_nothing_yet_is_named(tmp_path, monkeypatch):
    """As /proc/kmsg, which not everybody may open: a regular file that does not wait gives None."""
    path = tmp_path / "log"
    path.write_bytes(b"")
    monkeypatch.setattr(os, "fdopen", lambda descriptor, mode: _Silent(descriptor))
    with pytest.raises(ValueError, match="log has nothing to read now"):
        read_regular(path, 10)


class _Silent(io.FileIO):
    def read(self, size=-1):
        return None


def test_what_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", 1)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        read_regular(tmp_path / "loop", 1)


@pytest.mark.parametrize(
    "read",
    [
        open_image,
        lambda path: read_metadata(path, [], path.parent),
        Calibration.load,
        lambda path: read_annotation(path, find_benchmark("CUHK-PEDES")),
        read_recipe,
        lambda path: list(iter_json_items(path, "item")),
        lambda path: list(iter_parquet_rows(path)),
        content_hash,
        file_checksum,
    ],
)
def test_no_reader_of_files_waits_for_what_is_none(other, read):
    """Each would hang, or read a device until memory is out."""
    with pytest.raises(ValueError, match=f"{other}|is not there|is not a file"):
        read(Path("link"))


def test_readers_that_go_on_past_a_bad_file_wait_for_none_either(other):
    row, (fault,) = read_row(Path(), Entry("entry 0", "link", ["a man"], 1))
    assert row is None
    assert other in fault
    assert read_jpeg(Path("link"), (8, 4), 2) is None
