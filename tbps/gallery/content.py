"""The id of an image, which is a hash of its content, and the picture of that very content."""

import hashlib
from contextlib import suppress
from pathlib import Path

from PIL import Image

from tbps.data.images import BadImageError, ImageSource, decode_image, open_image, read_image_file


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
