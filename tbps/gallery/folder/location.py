"""The folder of an open gallery: the same one after `chdir` and after it was renamed."""

import os
import sys
import weakref
from contextlib import suppress
from pathlib import Path

from tbps.data.atomic_files import broken_link
from tbps.gallery.checks import GalleryError


class Folder:
    """A folder by its path, until `hold`; from then on by itself, where the platform can tell where it is now.

    Args:
        path: absolute, or from the present working directory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._held: int | None = None

    def __str__(self) -> str:
        return str(self._path)

    @property
    def path(self) -> Path:
        """Where it is now.

        Raises:
            GalleryError: it was removed, or moved where it cannot be found.
        """
        if self._held is not None and not _is_same(self._held, self._path):
            self._path = _moved(self._held, self._path)
        return self._path

    def hold(self) -> None:
        """Keep to this very folder, which must be there."""
        if self._held is None and os.name != "nt":  # Windows neither opens folders nor renames those in use
            with suppress(OSError):  # none can be opened any more: then by its path
                self._held = os.open(self._path, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
                self._close = weakref.finalize(self, os.close, self._held)

    def let_go(self) -> None:
        """Go by the path again."""
        if self._held is not None:
            self._held = None
            self._close()

    def has(self, name: str) -> bool:
        """Whether it holds a file.

        Raises:
            GalleryError: the file, or a folder on the way, is a link that leads nowhere.
        """
        path = self.path / name
        broken = broken_link(path)
        if broken is not None:
            raise GalleryError(
                f"{broken} is a link to {os.readlink(broken)}, which is not there: mount the disk that it is on, or "
                "mend the link."
            )
        return path.exists()

    def check_own(self, *names: str) -> None:
        """Refuse to write files through links: what they lead to may belong to somebody else.

        Raises:
            GalleryError: one of these files is a link, or a folder on the way is one that leads nowhere.
        """
        for name in names:
            self.has(name)
            if (self.path / name).is_symlink():
                raise GalleryError(
                    f"{self.path / name} is a link: a gallery is changed only where its files are its own. Put the "
                    "file itself in the link's place, or write to the folder that the link leads to."
                )


def _is_same(held: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(held), path.stat())
    except OSError:
        return False


def _moved(held: int, path: Path) -> Path:
    """Where a folder is that was at `path`."""
    try:
        found = Path(_name_of(held))
    except OSError:
        found = path
    if not _is_same(held, found):
        raise GalleryError(
            f"The folder {path} of the gallery is gone: it was removed, or moved. Open it where it is now."
        )
    return found


def _name_of(held: int) -> str:
    if sys.platform == "darwin":
        import fcntl  # not on every platform

        return os.fsdecode(fcntl.fcntl(held, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{held}")
