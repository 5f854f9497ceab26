"""Files that somebody else chose are opened only where they are regular files of a bounded size.

A FIFO waits for a writer that may never come, a device has no end, and neither says so by its name.
"""

import os
import stat
from io import BufferedReader
from pathlib import Path

MOST_TEXT = 2**29  # bytes of a file of text that is read as a whole: a line for each of millions of images

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}


def check_regular(path: str | Path, found: os.stat_result) -> None:
    """
    Refuse what is no regular file, by its status.

    Raises:
        ValueError: it is something else; the message says what.
    """
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise ValueError(f"{path} is {kind}: expected a regular file.")


def open_regular(path: str | Path, limit: int | None) -> BufferedReader:
    """
    A regular file of at most `limit` bytes (None: of any number), opened for reading. Nothing is waited for: the kind
    is asked of what was opened, so no other file can take its place in between.

    Raises:
        OSError: it cannot be opened. ValueError: it is no regular file, or larger.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(_on_disk(path), flags)
    except OSError:
        check_regular(path, os.stat(_on_disk(path)))  # a socket cannot be opened, a folder not on Windows
        raise
    try:
        found = os.fstat(descriptor)
        check_regular(path, found)
        _check_size(path, found.st_size, limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _on_disk(path: str | Path) -> str | Path:
    """The name by which this process finds a file: text that its locale has no letters for is UTF-8 on disk."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return os.fsdecode(str(path).encode("utf-8", "surrogateescape"))
    return path


def read_regular(path: str | Path, limit: int) -> bytes:
    """
    The bytes of a regular file.

    Raises:
        OSError: it cannot be read. ValueError: it is no regular file, or has more than `limit` bytes.
    """
    with open_regular(path, limit) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(min(size, limit) + 1)
        if data is not None and len(data) > size:  # it grows, or it is a file of the kernel, which says it has no bytes
            data += file.read(limit + 1 - len(data)) or b""
    if data is None:  # of a file of the kernel that others would wait for, as /proc/kmsg
        raise ValueError(f"{path} has nothing to be read now: expected a file that is there as a whole.")
    _check_size(path, len(data), limit)
    return data


def _check_size(path: str | Path, size: int, limit: int | None) -> None:
    if limit is not None and size > limit:
        raise ValueError(f"{path} has more than {limit} bytes, which is the most that is read of such a file.")
