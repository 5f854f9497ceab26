"""Atomic writes: readers see the old file or the new one, and no other file changes."""

import os
import stat
import sys

import pytest

from tbps.data.atomic_files import atomic_file, broken_link, write_atomically

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs links, modes and FIFOs")


def test_atomic_writes_touch_no_other_file(tmp_path):
    others = {name: f"{name} of somebody else" for name in ("x.html.tmp", ".x.html.tmp", "x.html.partial", "x")}
    for name, text in others.items():
        (tmp_path / name).write_text(text)
    write_atomically(tmp_path / "x.html", b"page")
    with pytest.raises(TypeError), atomic_file(tmp_path / "x.html") as file:
        file.write("no bytes")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {**others, "x.html": "page"}


@POSIX
def test_atomic_writes_keep_links_and_modes_and_refuse_other_files(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "page").write_text("old")
    (tmp_path / "far" / "page").chmod(0o640)
    (tmp_path / "x.html").symlink_to(tmp_path / "far" / "page")
    write_atomically(tmp_path / "x.html", b"new")
    assert (tmp_path / "x.html").is_symlink()
    assert (tmp_path / "far" / "page").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "far" / "page").stat().st_mode) == 0o640
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"This is a device, a pipe or a socket, not a regular file: '.*pipe'"):
        write_atomically(tmp_path / "pipe", b"new")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "far", b"new")
    assert broken_link(tmp_path / "x.html") is None


def test_long_names_can_be_written_atomically(tmp_path):
    for name in ("é" * 120 + ".html", "x" * 250, "\N{VIDEO CAMERA}" * 60):
        write_atomically(tmp_path / name, b"page")
        assert (tmp_path / name).read_bytes() == b"page"
    assert len(list(tmp_path.iterdir())) == 3
