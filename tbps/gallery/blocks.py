"""Files under a memory map whose blocks are verified when they are first read."""

import mmap
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from tbps.gallery.errors import GalleryError

BLOCK = 1 << 18  # bytes: small enough that opening reads little, large enough that a million rows need few checksums
_DIGITS = 16
_HEX = frozenset("0123456789abcdef")
ADVICE = "restore this file from a copy, or add the images again to a gallery in a new folder."


def block_checksums(data: bytes | memoryview) -> str:
    """XXH3-64 of each block of 256 KiB, 16 hex digits each, joined. Against accidents, not against attack: it is as
    fast as memory, so that verifying costs a first search little."""
    view = memoryview(data)
    return "".join(xxhash.xxh3_64_hexdigest(view[start : start + BLOCK]) for start in range(0, len(view), BLOCK))


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
        GalleryError: it is missing or has another length.
    """

    def __init__(self, path: Path, size: int, checksums: str) -> None:
        self.path = path
        if not path.is_file():
            raise GalleryError(f"{path} is missing: {ADVICE}")
        found = path.stat().st_size
        if found != size:
            raise GalleryError(f"{path} has {found} bytes where gallery.json says {size}: it was cut or grew; {ADVICE}")
        with path.open("rb") as file:
            # a private copy on write, which nobody writes to: torch accepts no read-only memory
            self.bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
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
        with memoryview(self.bytes) as view:
            for block in first + np.flatnonzero(~self._seen[first:last]):
                piece = view[block * BLOCK : (block + 1) * BLOCK]
                expected = self._checksums[block * _DIGITS : (block + 1) * _DIGITS]
                if xxhash.xxh3_64_hexdigest(piece) != expected:
                    raise GalleryError(
                        f"{self.path} is damaged between bytes {block * BLOCK} and {block * BLOCK + len(piece)} (the "
                        f"checksum is not the one in gallery.json): {ADVICE}"
                    )
                self._seen[block] = True

    def verify_array(self, array: pa.Array) -> None:
        """`verify` the bytes of an array that lies in this file."""
        for buffer in array.buffers():
            if buffer is not None and buffer.size:
                start = self.offset(buffer)
                self.verify(start, start + buffer.size)

    def offset(self, buffer: pa.Buffer) -> int:
        """Where in the file a buffer of it begins."""
        return int(buffer.address - self.arrow.address)
