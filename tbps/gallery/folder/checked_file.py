"""Memory-mapped files whose blocks are verified when they are first read."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import xxhash

from tbps.files_tbps import open_regular
from tbps.gallery.checks import GalleryError

BLOCK = 1 << 18  # bytes: small enough that opening reads little, large enough that a million rows need few checksums
_DIGITS = 16
_HEX = frozenset("0123456789abcdef")
_MAX_BYTES = 1 << 48  # of a file, as a manifest may state it
_DESCRIPTORS = Path("/dev/fd")  # its entries open the same file again, where it exists
ADVICE = "restore this file from a backup, or keep the other files by `tbps gallery repair`."


def block_checksums(data: bytes | memoryview) -> str:
    """Return the XXH3-64 checksum of each block of 256 KiB, 16 hex digits each, joined. They detect accidents, not
    attacks. They run at the speed of memory, so that a first search costs little more."""
    view = memoryview(data)
    return "".join(xxhash.xxh3_64_hexdigest(view[start : start + BLOCK]) for start in range(0, len(view), BLOCK))


def measure(path: Path) -> tuple[int, str]:
    """
    Return the size and the block checksums of a file.

    Raises:
        GalleryError: it is missing, empty or not a regular file.
    """
    checksums = []
    try:
        with open_regular(path, _MAX_BYTES) as file:
            while block := file.read(BLOCK):
                checksums.append(block_checksums(block))
            size = file.tell()
    except (OSError, ValueError) as error:
        raise GalleryError(f"{path} cannot be read ({error}).") from error
    if not size:
        raise GalleryError(f"{path} is empty.")
    return size, "".join(checksums)


def check_checksums(name: str, size: int, checksums: str) -> None:
    """
    Refuse a text that cannot be the block checksums of a file of `size` bytes.

    Raises:
        ValueError: it has another length, or other characters than lower-case hex digits.
    """
    if len(checksums) != -(-size // BLOCK) * _DIGITS or not set(checksums) <= _HEX:
        raise ValueError(f"checksums of {name} must be {_DIGITS} hex digits for each block of its {size} bytes")


class CheckedFile:
    """A memory-mapped file. No byte may be used before `verify` has checked it.

    Args:
        path: the file.
        size: its length when it was written.
        checksums: from `block_checksums`.

    Raises:
        GalleryError: it is missing, not a regular file, or of another length.
    """

    def __init__(self, path: Path, size: int, checksums: str) -> None:
        self.path = path
        self.bytes: np.ndarray = _mapped(path, size)  # (size,) uint8
        self.arrow = pa.py_buffer(self.bytes)
        self._checksums = checksums
        self._verified = np.zeros(-(-size // BLOCK), bool)

    def verify(self, start: int = 0, stop: int | None = None) -> None:
        """
        Check the blocks that hold the bytes from `start` up to `stop`. Each block is checked once.

        Raises:
            GalleryError: a block has changed.
        """
        stop = len(self.bytes) if stop is None else stop
        first, last = start // BLOCK, -(-stop // BLOCK)
        for number in first + np.flatnonzero(~self._verified[first:last]):
            block = memoryview(self.arrow)[number * BLOCK : (number + 1) * BLOCK]
            expected = self._checksums[number * _DIGITS : (number + 1) * _DIGITS]
            if xxhash.xxh3_64_hexdigest(block) != expected:
                raise GalleryError(
                    f"{self.path} is damaged between bytes {number * BLOCK} and {number * BLOCK + len(block)} (the "
                    f"checksum differs from the one in gallery.json): {ADVICE}"
                )
            self._verified[number] = True

    def verify_array(self, array: pa.Array) -> None:
        """
        Check the bytes of an array in this file.

        Raises:
            GalleryError: a block has changed.
            ValueError: the array lies outside the file.
        """
        for buffer in array.buffers():
            if buffer is not None and buffer.size:
                start = self.offset(buffer)
                if not 0 <= start <= start + buffer.size <= len(self.bytes):
                    raise ValueError("a buffer lies outside the file")
                self.verify(start, start + buffer.size)

    def offset(self, buffer: pa.Buffer) -> int:
        """Return the position in the file at which a buffer begins."""
        return int(buffer.address - self.arrow.address)


def _mapped(path: Path, size: int) -> np.ndarray:
    """
    Map a file of known size. No descriptor stays open, because a gallery may have more files than a process may open.

    Nobody writes to the map, but torch refuses read-only memory, so it is private and copied on write.
    """
    try:
        with open_regular(path, _MAX_BYTES) as file:
            found = os.fstat(file.fileno()).st_size
            if found != size:
                raise GalleryError(f"{path} has {found} bytes, and gallery.json says {size}: {ADVICE}")
            name = f"{_DESCRIPTORS}/{file.fileno()}" if _DESCRIPTORS.is_dir() else str(path)
            return torch.from_file(name, shared=False, size=size, dtype=torch.uint8).numpy()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise GalleryError(
                f"{path} is a link to {os.readlink(path)}, which does not exist: mount its disk, fix the link, or "
                "delete the link if the file is lost."
            ) from error
        raise GalleryError(f"{path} is missing: {ADVICE}") from None
    except GalleryError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise GalleryError(f"{path} cannot be read ({error}): {ADVICE}") from error
