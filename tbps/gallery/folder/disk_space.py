"""Room on the disk: asked for before much is written, and named where it ends."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tbps.gallery.checks import GalleryError

_SPARE = 1 << 20  # bytes besides, for manifests


def has_room(directory: Path, needed: int) -> bool:
    """Whether some bytes can be written; a file system that does not tell its size is believed to have room."""
    found = shutil.disk_usage(directory)
    return found.total == 0 or found.free >= needed + _SPARE


def check_room(directory: Path, needed: int) -> None:
    """
    Refuse to begin what the disk has no room for.

    Raises:
        GalleryError: the message says how much is missing.
    """
    if not has_room(directory, needed):
        free = shutil.disk_usage(directory).free
        raise GalleryError(
            f"The gallery {directory} needs {(needed + _SPARE) / 2**20:.0f} MiB more while it is compacted, and "
            f"{free / 2**20:.0f} MiB are free: make room, or choose fewer rows per file. Nothing was changed."
        )


@contextmanager
def named_when_full(path: Path) -> Iterator[None]:
    """Around the writing of a gallery's file: an error names it, and says what is kept."""
    try:
        yield
    except OSError as error:
        raise GalleryError(
            f"{path} could not be written ({error.strerror}): make room and repeat the command; what the gallery held "
            "before is kept."
        ) from error
