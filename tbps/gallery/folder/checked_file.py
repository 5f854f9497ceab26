"""Files under a memory map whose blocks are verified when they are first read."""

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
_MOST = 1 << 48  # bytes: what a manifest may say of a file
_DESCRIPTORS = Path("/dev/fd")  # a name of the very file that was opened, where there is one
ADVICE = "restore this file from a copy, or keep what else is sound by `tbps gallery repair`."


def block_checksums(data: bytes | memoryview) -> str:
    """XXH3-64 of each block of 256 KiB, 16 hex digits each, joined. Against accidents, not against attack: it is as
    fast as memory, so that verifying costs a first search little."""
    view = memoryview(data)
    return "".join(xxhash.xxh3_64_hexdigest(view[start : start + BLOCK]) for start in range(0, len(view), BLOCK))


def measured(path: Path) -> tuple[int, str]:
    """
    The size and the checksums of a file as it is now.

    Raises:
        GalleryError: it is missing, empty or no regular file.
    """
    pieces = []
    try:
        with open_regular(path, _MOST) as file:
            while piece := file.read(BLOCK):
                pieces.append(block_checksums(piece))
            size = file.tell()
    except (OSError, ValueError) as error:
        raise GalleryError(f"{path} cannot be read ({error}).") from error
    if not size:
        raise GalleryError(f"{path} is empty.")
    return size, "".join(pieces)


def check_checksums(name: str, size: int, checksums: str) -> None:
    """
    Refuse a text that cannot be the checksums of a file of `size` bytes.

    Raises:
        ValueError: it has another length, or is no text of lower-case hex digits.
    """
    if len(checksums) != -(-size // BLOCK) * _DIGITS or not set(checksums) <= _HEX:
        raise ValueError(f"the checksums of {name} are not {_DIGITS} hex digits for each block of its {size} bytes")


class CheckedFile:
    """The bytes of a file, none of which should be believed before `verify` has seen it.

    Args:
        path: the file. size: its length when it was written. checksums: of `block_checksums`.

    Raises:
        GalleryError: it is missing, no regular file, or has another length.
    """

    def __init__(self, path: Path, size: int, checksums: str) -> None:
        self.path = path
        self.bytes: np.ndarray = _mapped(path, size)  # (size,) uint8
        self.arrow = pa.py_buffer(self.bytes)
        self._checksums = checksums
        self._seen = np.zeros(-(-size // BLOCK), bool)

    def verify(self, start: int = 0, stop: int | None = None) -> None:
        """
        Check the blocks that hold the bytes from `start` to before `stop`, each of them once.

        Raises:
            GalleryError: a block is not as it was written.
        """
        stop = len(self.bytes) if stop is None else stop
        first, last = start // BLOCK, -(-stop // BLOCK)
        for block in first + np.flatnonzero(~self._seen[first:last]):
            piece = memoryview(self.arrow)[block * BLOCK : (block + 1) * BLOCK]
            expected = self._checksums[block * _DIGITS : (block + 1) * _DIGITS]
            if xxhash.xxh3_64_hexdigest(piece) != expected:
                raise GalleryError(
                    f"{self.path} is damaged between bytes {block * BLOCK} and {block * BLOCK + len(piece)} (the "
                    f"checksum is not the one in gallery.json): {ADVICE}"
                )
            self._seen[block] = True

    def verify_array(self, array: pa.Array) -> None:
        """
        `verify` the bytes of an array that should lie in this file.

        Raises:
            GalleryError: a block is not as it was written. ValueError: the array lies elsewhere.
        """
        for buffer in array.buffers():
            if buffer is not None and buffer.size:
                start = self.offset(buffer)
                if not 0 <= start <= start + buffer.size <= len(self.bytes):
                    raise ValueError("a buffer lies outside of the file")
                self.verify(start, start + buffer.size)

    def offset(self, buffer: pa.Buffer) -> int:
        """Where in the file a buffer of it begins."""
        return int(buffer.address - self.arrow.address)


def _mapped(path: Path, size: int) -> np.ndarray:
    """The bytes of a file of a known size under a memory map, for which no descriptor stays open: a gallery may have
    more files than a process may open. Nobody writes to it; as torch takes no read-only memory it is a private copy
    on write."""
    try:
        with open_regular(path, _MOST) as file:
            found = os.fstat(file.fileno()).st_size
            if found != size:
                raise GalleryError(
                    f"{path} has {found} bytes where gallery.json says {size}: it was cut or grew; {ADVICE}"
                )
            name = f"{_DESCRIPTORS}/{file.fileno()}" if _DESCRIPTORS.is_dir() else str(path)
            return torch.from_file(name, shared=False, size=size, dtype=torch.uint8).numpy()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise GalleryError(
                f"{path} is a link to {os.readlink(path)}, which is not there: mount the disk that it is on, mend the "
                "link, or delete it if the file is lost."
            ) from error
        raise GalleryError(f"{path} is missing: {ADVICE}") from None
    except GalleryError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise GalleryError(f"{path} cannot be read ({error}): {ADVICE}") from error
