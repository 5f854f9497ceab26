"""Small pictures kept beside vectors, for reports without the files."""

from io import BytesIO

from PIL import Image

_SIZE = (96, 192)  # pixels at most


def thumbnail(picture: Image.Image) -> bytes:
    """A JPEG file of a few kilobytes; it holds nothing of what the original says of place and time."""
    small = picture.copy()
    small.thumbnail(_SIZE)
    file = BytesIO()
    small.save(file, format="JPEG", quality=80)
    return file.getvalue()
