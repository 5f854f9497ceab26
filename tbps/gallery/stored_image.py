"""The content of images: an id that is a hash of it, and a file that is shown only while it still has that content."""

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

FileState = Literal["unchanged", "changed", "gone", "unreadable"]
_NOTES = {None: "", "unchanged": "", "changed": "the file has changed", "gone": "the file is gone",
          "unreadable": "the file cannot be read"}  # fmt: skip


def content_id(source: ImageSource) -> str | None:
    """
    Hash the content of an image: the bytes of a file, or the pixels of an image in memory.

    The same content has the same id in every run and under every name.

    Returns:
        The id; None if the image cannot be read.
    """
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
    """
    Open an image and hash the same bytes. A file is read once, because it may be overwritten at any time.

    Args:
        source: a file, its bytes, or an image in memory.
        name: the name of the image in error messages.

    Returns:
        The id, and the image in RGB.

    Raises:
        BadImageError: the image cannot be read.
    """
    if isinstance(source, str | Path):
        source = read_image_file(source)
    if isinstance(source, bytes):
        return _hash(source), decode_image(source, name)
    image = open_image(source)
    return _pixel_id(image), image


def _pixel_id(image: Image.Image) -> str:
    return _hash(f"{image.size}".encode() + image.tobytes())


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


@dataclass(frozen=True)
class StoredImage:
    """
    The image of a row, opened only when it is asked for.

    A camera may have written another image under the same name. So the file is shown only while its content has the
    row's id; otherwise the thumbnail is shown.

    Args:
        id: the hash of the content. path: the file as it was added. thumbnail: a small JPEG file.
        roots: folders, with links resolved, below which files may be opened.
    """

    id: str
    path: str | None
    thumbnail: bytes | None
    roots: Sequence[Path]

    def shown(self) -> Path | bytes | None:
        """Return the file, or else the thumbnail, or else None."""
        file = allowed_path(self.path, self.roots)
        return file if file is not None and content_id(file) == self.id else self.thumbnail

    def load_image(self) -> tuple[Image.Image | None, str]:
        """Load the image, RGB, from bytes whose hash is the id, and a remark about the file."""
        state, image = self._read()
        if image is None and self.thumbnail is not None:
            try:
                image = open_image(self.thumbnail)
            except BadImageError:  # somebody else wrote it
                image = None
        return image, _NOTES[state] or ("" if image else "no image")

    def file_state(self) -> FileState | None:
        """Compare the file with the image that was added; None if it may not be opened, or there is no file."""
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
    """Return the path if it lies below one of the roots after resolving links and "..", whether it exists or not."""
    if path is None or not roots:
        return None
    try:
        real = Path(os.path.realpath(name_on_disk(path)))
    except (OSError, ValueError):  # no file can have this name
        return None
    return real if any(real.is_relative_to(root) for root in roots) else None


def real_roots(roots: Sequence[str | Path]) -> tuple[Path, ...]:
    """
    Resolve the links of folders.

    Raises:
        ValueError: an entry is blank or not a folder.
        TypeError: one folder instead of a list.
    """
    if isinstance(roots, str | Path):  # as a sequence, every letter of the text would be a root, "/" among them
        raise TypeError(f"roots={str(roots)!r}: expected a list of folders, such as roots=[{str(roots)!r}].")
    folders = list(map(local_path, roots))
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"root {str(folder)!r} is not a folder: expected one below which images may be opened.")
    return tuple(Path(os.path.realpath(folder)) for folder in folders)
