"""Images as users keep them: cells of data sets and folders of files. `tbps.images_tbps` opens them.

The image column of a split, cell by cell, without decoding.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import datasets
from PIL import Image

from tbps.images_tbps import (
    BadImageError,
    ImageSource,
    decode_image,
    image_source,
    open_image,
    opened_formats,
    read_image_file,
    shown,
)

__all__ = [
    "BadImageError",
    "ImageFolder",
    "ImageSource",
    "decode_image",
    "find_images",
    "image_source",
    "list_images",
    "open_image",
    "read_image_file",
    "shown",
]

# what cameras and programs write, and what Pillow opens in no build, or in some only, or with a plugin
_OTHER_IMAGES = frozenset({
    ".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".webp", ".svg", ".eps", ".psb", ".xcf", ".exr", ".hdr", ".jxr",
    ".wdp", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw",
})  # fmt: skip


@dataclass(frozen=True)
class ImageFolder:
    """The images below a folder.

    Args:
        paths: files that may be opened, sorted. left_out: of files and folders that cannot be, the name and the reason.
    """

    paths: list[Path]
    left_out: list[tuple[str, str]]


def find_images(folder: str | Path) -> ImageFolder:
    """The images under a folder and its sub-folders, in all formats that Pillow opens here (see `opened_formats`).

    Hidden files, links that lead nowhere, linked sub-folders and files whose names are not those of images are passed
    over. Images in formats that cannot be opened and sub-folders that cannot be listed are left out and named.

    Raises:
        FileNotFoundError: there is no such folder.
        BadImageError: there is no image in it that can be opened.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: expected the folder that holds the images.")
    closed: list[OSError] = []
    taken, others = _suffixes()
    found: list[Path] = []
    for place, _, names in os.walk(folder, onerror=closed.append):
        named = (name for name in names if not name.startswith(".") and Path(name).suffix.lower() in taken | others)
        found += [path for name in named if _is_file(path := Path(place, name), closed)]
    left_out = [(shown(path), _unopened(path)) for path in sorted(found) if path.suffix.lower() in others]
    left_out += [(shown(error.filename), _unlisted(error)) for error in closed]
    paths = sorted(path for path in found if path.suffix.lower() in taken)
    if not paths:
        why = f" {len(left_out)} were left out: {left_out[0][1]}" if left_out else ""
        raise BadImageError(f"{folder} holds no image: expected files as .jpg and .png, in a format of Pillow's.{why}")
    return ImageFolder(paths, left_out)


def list_images(folder: str | Path) -> list[Path]:
    """The paths of `find_images`, with its errors."""
    return find_images(folder).paths


def _suffixes() -> tuple[set[str], set[str]]:
    """What the names of images end with: of those that are opened here, and of others."""
    opened = {*opened_formats(), "MPO"}  # the second is opened as JPEG
    taken = {suffix for suffix, name in Image.registered_extensions().items() if name in opened}
    return taken, set(_OTHER_IMAGES - taken)


def _is_file(path: Path, closed: list[OSError]) -> bool:
    """Whether it is a regular file; what may not even be asked is noted."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except PermissionError as error:
        closed.append(error)
    except (OSError, ValueError):  # a link that leads nowhere
        pass
    return False


def _unopened(path: Path) -> str:
    plugin = ", or install pillow-heif and register it" if path.suffix.lower() in (".heic", ".heif", ".hif") else ""
    return f"{shown(path)} is in a format that Pillow does not open here: convert it to JPEG or PNG{plugin}."


def _unlisted(error: OSError) -> str:
    return f"{shown(error.filename)} cannot be looked at ({error.strerror}): may this user read and enter the folder?"


class ImageCells:
    """What `open_image` takes, of each row; and its name for people.

    Where all images are files, their paths are held in one Arrow array: a look-up then takes a microsecond, not fifty,
    and loader processes share the memory, which they would copy from a list of Python strings as they count references.
    """

    def __init__(self, rows: datasets.Dataset) -> None:
        cells = rows.select_columns("image").cast_column("image", datasets.Image(decode=False))
        self.cells = cells["image"]
        flat = cells.flatten()
        stored = flat.data.column("image.bytes")
        self.paths = flat.with_format("arrow")["image.path"][:] if stored.null_count == len(stored) else None

    def __getitem__(self, row: int) -> ImageSource:
        """The source of a row.

        Raises:
            BadImageError: the cell has neither bytes nor a path.
        """
        path = self.paths[row].as_py() if self.paths is not None else None
        return image_source(self.cells[row] if path is None else path)

    def chosen(self, rows: Sequence[int]) -> Sequence[ImageSource]:
        """The sources of some rows, each read when it is asked for: images in a data set would else all be held."""
        return _Chosen(self, rows)

    def name(self, row: int) -> str:
        """The file of a row, as far as it has one."""
        path = self.cells[row]["path"]
        return f"row {row}" if path is None else f"{path} (row {row})"


class _Chosen(Sequence[ImageSource]):
    def __init__(self, cells: ImageCells, rows: Sequence[int]) -> None:
        self.cells, self.rows = cells, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> ImageSource: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[ImageSource]: ...
    def __getitem__(self, place: int | slice) -> ImageSource | Sequence[ImageSource]:
        if isinstance(place, slice):
            return _Chosen(self.cells, self.rows[place])
        return self.cells[self.rows[place]]
