"""The folder of an open gallery, which stays the same after `chdir` and after the folder is renamed."""

import os
import sys
import weakref
from contextlib import suppress
from pathlib import Path

from tbps.data.atomic_files import broken_link
from tbps.gallery.checks import GalleryError


class Folder:
    """A folder, known by its path until `hold`, and from then on by a descriptor, on platforms that can tell its path.

    Args:
        path: absolute, or relative to the present working directory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._held: int | None = None

    def __str__(self) -> str:
        return str(self._path)

    @property
    def path(self) -> Path:
        """The present path.

        Raises:
            GalleryError: the folder was removed, or moved to where it cannot be found.
        """
        if self._held is not None and not _is_same(self._held, self._path):
            self._path = _moved_path(self._held, self._path)
        return self._path

    def hold(self) -> None:
        """Open the folder, which must exist, to follow it when it is renamed."""
        if self._held is None and os.name != "nt":  # Windows can neither open folders nor rename open ones
            with suppress(OSError):  # out of descriptors: keep using the path
                self._held = os.open(self._path, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
                self._close = weakref.finalize(self, os.close, self._held)

    def release(self) -> None:
        """Undo `hold`."""
        if self._held is not None:
            self._held = None
            self._close()

    def has(self, name: str) -> bool:
        """Whether the folder holds a file.

        Raises:
            GalleryError: the file, or a folder on its path, is a broken link.
        """
        path = self.path / name
        broken = broken_link(path)
        if broken is not None:
            raise GalleryError(
                f"{broken} is a link to {os.readlink(broken)}, which does not exist: mount its disk, or fix the link."
            )
        return path.exists()

    def check_no_links(self, *names: str) -> None:
        """Refuse to write files through links, because their targets may belong to somebody else.

        Raises:
            GalleryError: one of these files is a link, or a folder on its path is a broken link.
        """
        for name in names:
            self.has(name)
            if (self.path / name).is_symlink():
                raise GalleryError(
                    f"{self.path / name} is a link, and a gallery is only changed if its files are not links. Replace "
                    "the link by the file itself, or open the gallery in the folder that the link points to."
                )


def _is_same(held: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(held), path.stat())
    except OSError:
        return False


def _moved_path(held: int, path: Path) -> Path:
    """Find the present path of a folder that was at `path`."""
    try:
        found = Path(_path_of(held))
    except OSError:
        found = path
    if not _is_same(held, found):
        raise GalleryError(f"The gallery's folder {path} was removed or moved. Open the gallery where it is now.")
    return found


def _path_of(held: int) -> str:
    if sys.platform == "darwin":
        import fcntl  # not on every platform

        return os.fsdecode(fcntl.fcntl(held, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{held}")
