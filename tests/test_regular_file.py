"""Only regular files of a bounded size are read, and nothing is waited for."""

import os
import socket
import sys

import pytest

from tbps.regular_file_tbps import open_regular, read_regular

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


def test_what_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", 1)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        read_regular(tmp_path / "loop", 1)
