"""What may be shown of an image that was found: its file while that is still the image which was added.

The id of an image, which is a hash of its content, and the picture of that very content.
"""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from tbps.data.images import BadImageError, ImageSource, decode_image, open_image, read_image_file
from tbps.data.paths import local_path, name_on_disk


def content_id(source: ImageSource) -> str | None:
    """The same content gets the same id in every run and under every name: of a file its bytes, of a picture in memory
    its pixels. None where it cannot be read."""
    if isinstance(source, Image.Image):
        with suppress(BadImageError):
            return _pixel_id(open_image(source))
    elif isinstance(source, bytes):
        return _hash(source) if source else None
    elif isinstance(source, str | Path):
        with suppress(BadImageError):
            return content_id(read_image_file(source))
    return None


def open_content(source: ImageSource, name: str) -> tuple[str, Image.Image]:
    """The id and the picture, RGB, of the same bytes: a file may be overwritten at any time, and is read once.

    Args:
        name: what messages call it.

    Raises:
        BadImageError: it cannot be read.
    """
    if isinstance(source, str | Path):
        source = read_image_file(source)
    if isinstance(source, bytes):
        return _hash(source), decode_image(source, name)
    picture = open_image(source)
    return _pixel_id(picture), picture


def _pixel_id(picture: Image.Image) -> str:
    return _hash(f"{picture.size}".encode() + picture.tobytes())


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


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

    def load_image(self) -> tuple[Image.Image | None, str]:
        """The picture, RGB, of bytes that were compared with the id, and what there is to say of the file."""
        state, picture = self._read()
        if picture is None and self.thumbnail is not None:
            try:
                picture = open_image(self.thumbnail)
            except BadImageError:  # somebody else wrote it
                picture = None
        return picture, _NOTES[state] or ("" if picture else "no image")

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
