"""Only regular files of a bounded size are read, and no read waits."""

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
    """Make a file that is not regular, and a link to it; return its kind."""
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
def test_a_file_that_is_not_regular_is_named(other, name):
    with pytest.raises(ValueError, match=rf"{name} is a {other}: expected a regular file"):
        read_regular(name, 100)


def test_a_file_above_the_limit_is_not_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(ValueError, match="more than 4 bytes"):
        read_regular(path, 4)
    with pytest.raises(ValueError, match="more than 4 bytes"):
        open_regular(path, 4)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs /proc")
def test_a_kernel_file_that_reports_no_size_is_limited_too():
    with pytest.raises(ValueError, match="more than 10 bytes"):
        read_regular("/proc/self/maps", 10)


def test_a_file_that_has_nothing_yet_is_named(tmp_path, monkeypatch):
    """Like /proc/kmsg, which needs privileges: a regular file that does not block returns None."""
    path = tmp_path / "log"
    path.write_bytes(b"")
    monkeypatch.setattr(os, "fdopen", lambda descriptor, mode: _Silent(descriptor))
    with pytest.raises(ValueError, match="log has nothing to read now"):
        read_regular(path, 10)


class _Silent(io.FileIO):
    def read(self, size=-1):
        return None


def test_a_missing_file_is_an_os_error(tmp_path):
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
def test_no_reader_waits_for_a_file_that_is_not_regular(other, read):
    """Each would hang, or read a device until memory runs out."""
    with pytest.raises(ValueError, match=f"{other}|is not there|is not a file"):
        read(Path("link"))


def test_readers_that_skip_bad_files_do_not_wait_either(other):
    row, (fault,) = read_row(Path(), Entry("entry 0", "link", ["a man"], 1))
    assert row is None
    assert other in fault
    assert read_jpeg(Path("link"), (8, 4), 2) is None
