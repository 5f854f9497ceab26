"""Find the images in a folder. `tbps.images_tbps` opens images."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tbps.images_tbps import (
    BadImageError,
    ImageSource,
    decode_image,
    image_source,
    open_image,
    read_image_file,
    shown,
    supported_formats,
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

# image formats that Pillow cannot open, or only in some builds or with a plugin
_OTHER_IMAGES = frozenset({
    ".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".webp", ".svg", ".eps", ".psb", ".xcf", ".exr", ".hdr", ".jxr",
    ".wdp", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw",
})  # fmt: skip


@dataclass(frozen=True)
class ImageFolder:
    """The images in a folder and its sub-folders.

    Attributes:
        paths: The image files, sorted.
        left_out: Name and reason for every file and folder that cannot be opened.
    """

    paths: list[Path]
    left_out: list[tuple[str, str]]


def find_images(folder: str | Path) -> ImageFolder:
    """Find the images in a folder and its sub-folders, in all `supported_formats`.

    Hidden files, broken links, linked sub-folders and files without the suffix of an image are ignored. Images in
    formats that cannot be opened and sub-folders that cannot be listed are reported in `left_out`.

    Raises:
        FileNotFoundError: The folder does not exist.
        BadImageError: The folder has no image that can be opened.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: expected the folder that holds the images.")
    closed: list[OSError] = []
    taken, others = _suffixes()
    found: list[Path] = []
    for directory, _, names in os.walk(folder, onerror=closed.append):
        named = (name for name in names if not name.startswith(".") and Path(name).suffix.lower() in taken | others)
        found += [path for name in named if _is_file(path := Path(directory, name), closed)]
    left_out = [(shown(path), _unopened(path)) for path in sorted(found) if path.suffix.lower() in others]
    left_out += [(shown(error.filename), _unlisted(error)) for error in closed]
    paths = sorted(path for path in found if path.suffix.lower() in taken)
    if not paths:
        why = f" {len(left_out)} were left out: {left_out[0][1]}" if left_out else ""
        raise BadImageError(
            f"{folder} holds no image: expected files such as .jpg and .png, in a format that Pillow opens.{why}"
        )
    return ImageFolder(paths, left_out)


def list_images(folder: str | Path) -> list[Path]:
    """List the paths that `find_images` finds; it raises the same errors."""
    return find_images(folder).paths


def _suffixes() -> tuple[set[str], set[str]]:
    """The suffixes of images that can be opened here, and of those that cannot."""
    opened = {*supported_formats(), "MPO"}  # MPO is opened as JPEG
    taken = {suffix for suffix, name in Image.registered_extensions().items() if name in opened}
    return taken, set(_OTHER_IMAGES - taken)


def _is_file(path: Path, closed: list[OSError]) -> bool:
    """Whether a path is a regular file. Adds a permission error to `closed`."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except PermissionError as error:
        closed.append(error)
    except (OSError, ValueError):  # such as a broken link
        pass
    return False


def _unopened(path: Path) -> str:
    plugin = ", or install pillow-heif and register it" if path.suffix.lower() in (".heic", ".heif", ".hif") else ""
    return f"{shown(path)} is in a format that Pillow cannot open here. Convert it to JPEG or PNG{plugin}."


def _unlisted(error: OSError) -> str:
    return f"{shown(error.filename)} cannot be listed ({error.strerror}). Check the permissions of the folder."
