"""Images as users keep them: cells of data sets and folders of files. `tbps.images_tbps` opens them."""

from pathlib import Path

from tbps.images_tbps import (
    BadImageError,
    ImageSource,
    decode_image,
    image_source,
    open_image,
    read_image_file,
    shown,
)

__all__ = [
    "BadImageError",
    "ImageSource",
    "decode_image",
    "image_source",
    "list_images",
    "open_image",
    "read_image_file",
    "shown",
]

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def list_images(folder: str | Path) -> list[Path]:
    """The image files under a folder and its sub-folders, sorted; hidden files, links that lead nowhere and linked
    sub-folders are left out.

    Raises:
        FileNotFoundError: there is no such folder.
        BadImageError: there is no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: expected the folder that holds the images.")
    found = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    paths = sorted(path for path in found if not path.name.startswith(".") and path.is_file())
    if not paths:
        raise BadImageError(f"{folder} holds no image: expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}.")
    return paths
