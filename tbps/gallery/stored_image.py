"""What may be shown of an image that was found: its file while that is still the image which was added."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from tbps.addresses import local_path
from tbps.data.images import BadImageError, decode_image, open_image, read_image_file
from tbps.file_names import name_on_disk
from tbps.gallery.content import content_id

FileState = Literal["unchanged", "changed", "gone", "unreadable"]
_NOTES = {None: "", "unchanged": "", "changed": "the file has changed", "gone": "the file is gone",
          "unreadable": "the file cannot be read"}  # fmt: skip


@dataclass(frozen=True)
class StoredImage:
    """
    The image of a row. Nothing is opened before it is asked for.

    A camera may have written another picture under the name since: a file is shown only where its content is that of
    the id, else the thumbnail is, if one was kept.

    Args:
        roots: folders, links followed, below which files may be opened.
    """

    id: str
    path: str | None
    thumbnail: bytes | None
    roots: Sequence[Path]

    def shown(self) -> Path | bytes | None:
        """The file or else the thumbnail; None where there is neither."""
        file = allowed_path(self.path, self.roots)
        return file if file is not None and content_id(file) == self.id else self.thumbnail

    def picture(self) -> tuple[Image.Image | None, str]:
        """The picture, RGB, of bytes that were compared with the id, and what there is to say of the file."""
        state, picture = self._read()
        if picture is None and self.thumbnail is not None:
            try:
                picture = open_image(self.thumbnail)
            except BadImageError:  # somebody else wrote it
                picture = None
        return picture, _NOTES[state] or ("" if picture else "no picture")

    def file_state(self) -> FileState | None:
        """What has become of the file; None where it may not be opened, or there never was one."""
        return self._read()[0]

    def _read(self) -> tuple[FileState | None, Image.Image | None]:
        file = allowed_path(self.path, self.roots)
        if file is None:
            return None, None
        try:
            data = read_image_file(file)
            if content_id(data) != self.id:
                return "changed", None
            return "unchanged", decode_image(data, str(file))
        except BadImageError:
            return ("unreadable" if file.exists() else "gone"), None


def allowed_path(path: str | None, roots: Sequence[Path]) -> Path | None:
    """The path, if it leads below one of the roots once links and ".." are followed, whether a file is there or not."""
    if path is None or not roots:
        return None
    try:
        real = Path(os.path.realpath(name_on_disk(path)))
    except (OSError, ValueError):  # a name that no file can have
        return None
    return real if any(real.is_relative_to(root) for root in roots) else None


def real_roots(roots: Sequence[str | Path]) -> tuple[Path, ...]:
    """Folders, with links followed.

    Raises:
        ValueError: one of them is blank or no folder. TypeError: one folder instead of a list.
    """
    if isinstance(roots, str | Path):  # the letters of a text would be roots, "/" among them
        raise TypeError(f"roots={str(roots)!r}: expected a list of folders, as roots=[{str(roots)!r}].")
    folders = list(map(local_path, roots))
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"root {str(folder)!r} is no folder: expected one below which images may be opened.")
    return tuple(Path(os.path.realpath(folder)) for folder in folders)
