"""Files that are there whole or not at all, and that say when they have changed."""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import xxhash

TEMPORARY_SUFFIX = ".tmp"


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that is under `path` when the block ends: a reader, or a machine that lost power, finds the old
    file or the new one. Where the block fails, nothing half-written stays behind."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Put `data` on disk under `path`, as `atomic_file` does."""
    with atomic_file(path) as file:
        file.write(data)


def _sync_directory(directory: Path) -> None:
    """Make a rename last, which is a change of the folder; Windows cannot open one and need not."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksum(data: bytes | memoryview) -> str:
    """CRC-32 in hex. It is against accidents, of which one in four thousand million would pass, not against attack;
    a gallery is read through on opening, and this is several times as fast as a cryptographic hash."""
    return f"{zlib.crc32(data):08x}"


def content_hash(path: Path) -> str:
    """xxh3 of a file's contents in hex, read piece by piece: for files of gigabytes, at the speed of the disk."""
    value = xxhash.xxh3_64()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            value.update(piece)
    return value.hexdigest()


def file_checksum(path: Path) -> str:
    """`checksum` of a file's contents, read piece by piece."""
    value = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            value = zlib.crc32(piece, value)
    return f"{value:08x}"
