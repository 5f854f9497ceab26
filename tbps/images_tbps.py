"""The one way in which files, bytes, addresses, PIL images and arrays become upright RGB images.

EXIF orientation, transparency and 16-bit values are handled here. An image that cannot be read gives an error that
names it and says why.
"""

import base64
import binascii
import os
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from huggingface_hub.utils import httpx  # the client with which Transformers fetches images
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from .files_tbps import printable, read_regular

ImageSource = str | os.PathLike[str] | bytes | BinaryIO | Image.Image

MAX_FILE_BYTES = 2**29  # limit of an image file or a download; you may set it
_ADDRESSES = ("http://", "https://", "file:/", "data:image/")
MAX_SHOWN = 400  # characters of a path in messages
# Pillow would start Ghostscript for EPS. Of the others it reads the header, but cannot decode an image.
REFUSED_FORMATS = frozenset({"EPS", "PDF", "MPEG", "BUFR", "GRIB", "HDF5", "WMF", "IPTC"})


class BadImageError(ValueError):
    """An image cannot be read; the message names it and says why."""


def open_image(source: ImageSource) -> Image.Image:
    """Open an image as RGB, fully loaded and turned upright by its EXIF orientation.

    Transparent pixels become white, 16-bit grey is scaled to 8 bits, and an animation gives its first frame. A PIL
    image is not changed. A file object is read from its current position and stays open.

    Raises:
        BadImageError: the file is missing, empty, truncated, not a regular file or not an image; or it has more than
            `MAX_FILE_BYTES` bytes or more than `PIL.Image.MAX_IMAGE_PIXELS` pixels (a decompression bomb).
        TypeError: the source has another type.
    """
    source = Path(source) if isinstance(source, os.PathLike) else source
    name = _describe(source)
    if isinstance(source, str | Path):
        return decode_image(read_image_file(source), name)
    if isinstance(source, bytes):
        return decode_image(source, name)
    if isinstance(source, Image.Image):
        return _upright_rgb(source, name)
    return decode_image(source.read(), name)


def fetch_image(source: ImageSource, timeout: float | None = None) -> Image.Image:
    """Open an image as `open_image` does, or fetch it from an address.

    Args:
        source: as in `open_image`; a string may also be an http(s) address, a `data:` address or an image in base64, as
            in `transformers.image_utils.load_image`.
        timeout: seconds to wait for an address.

    Raises:
        BadImageError: as `open_image`, or the address does not give an image.
    """
    if not isinstance(source, str) or os.path.isfile(source):
        return open_image(source)
    if source.startswith(("http://", "https://")):
        return decode_image(_download(source, timeout), shown(source))
    text = source.split(",", 1)[-1] if source.startswith("data:image/") else source
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return open_image(source)  # it is not base64; as a path, it gets its own error
    return decode_image(data, f"{shown(source)}, read as base64,")


def is_image_address(text: str) -> bool:
    """Tell whether text is the address or path of an image rather than words.

    It is one if it starts as an address of `fetch_image` does, or if it is the path of an existing file and either has
    an image's extension or contains a folder.
    """
    Image.init()
    text = text.strip()
    if text.lower().startswith(_ADDRESSES):
        return True
    ending = os.path.splitext(text)[1].lower()
    return (os.sep in text or ending in Image.EXTENSION) and os.path.isfile(os.path.expanduser(text))


def image_source(value: ImageSource | dict[str, Any]) -> ImageSource:
    """Return the bytes, or else the path, of a cell of a `datasets.Image(decode=False)` column.

    Other values are returned as they are.

    Raises:
        BadImageError: the cell has neither.
    """
    if not isinstance(value, dict):
        return value
    if value.get("bytes") is not None:
        return bytes(value["bytes"])
    if value.get("path") is not None:
        return str(value["path"])
    raise BadImageError(f"an image cell must have bytes or a path, got {value!r}.")


def decode_image(data: bytes, name: str) -> Image.Image:
    """Decode the bytes of an image file, as `open_image` does.

    Args:
        name: name of the image in messages.

    Raises:
        BadImageError: it is empty, damaged, too large or not an image.
    """
    if not data:
        raise BadImageError(f"{name} is empty (0 bytes). Copy or download it again.")
    try:
        image = Image.open(BytesIO(data), formats=supported_formats())
    except UnidentifiedImageError as error:
        raise BadImageError(f"{name} is not an image in a known format: expected JPEG, PNG or the like.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImageError(_bomb(name)) from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many types on damaged data
        raise BadImageError(_damaged(name, error)) from error
    return _upright_rgb(image, name, in_place=True)


def supported_formats() -> list[str]:
    """List the formats that may be opened: all that Pillow and its plugins have, except `REFUSED_FORMATS`."""
    Image.init()
    return [name for name in Image.ID if name not in REFUSED_FORMATS]


def read_image_file(path: str | Path) -> bytes:
    """Read the bytes of an image file, without decoding it.

    Raises:
        BadImageError: it is missing, cannot be read, or is not a regular file.
    """
    name = shown(path)
    try:
        return read_regular(path, MAX_FILE_BYTES)
    except FileNotFoundError as error:
        raise BadImageError(f"{name} does not exist. Check the path; a relative one starts at {Path.cwd()}.") from error
    except (OSError, ValueError) as error:  # ValueError: the path holds a NUL character
        reason = printable(str(getattr(error, "strerror", None) or error)).removeprefix(name).strip(" .")
        raise BadImageError(f"{name} cannot be read ({reason}): expected an image file.") from error


def array_image(array: np.ndarray, channels_last: bool, unit: bool) -> Image.Image:
    """Make an RGB image from an array of pixels, as `open_image` does from the same image in a file.

    Args:
        array: (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels.
        unit: whether floats are in [0, 1] rather than in 0 to 255.

    Raises:
        ValueError: the values are not pixels, or do not fit the range that `unit` states.
    """
    pixels = _bytes_of(array, unit)
    if pixels.ndim == 3 and not channels_last:
        pixels = np.moveaxis(pixels, 0, -1)
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    return open_image(Image.fromarray(np.ascontiguousarray(pixels)))


def shown(path: str | Path) -> str:
    """Format a path for messages: `printable`, and shortened in the middle if it is long."""
    text = printable(str(path))
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN // 2]}...{text[-MAX_SHOWN // 2 :]}"


def _describe(source: ImageSource) -> str:
    if isinstance(source, str | Path):
        return shown(source)
    if isinstance(source, bytes):
        return f"an image of {len(source)} bytes"
    if isinstance(source, Image.Image):
        return shown(getattr(source, "filename", "") or "an image in memory")
    if hasattr(source, "read"):
        return shown(str(getattr(source, "name", "an image file object")))
    raise TypeError(f"cannot open {type(source).__name__} as an image: expected a path, bytes, a file or a PIL image.")


def _download(address: str, timeout: float | None) -> bytes:
    data = bytearray()
    try:
        with httpx.stream("GET", address, timeout=timeout, follow_redirects=True) as answer:
            answer.raise_for_status()
            for piece in answer.iter_bytes():
                data += piece
                if len(data) > MAX_FILE_BYTES:
                    raise BadImageError(f"{shown(address)} sends more than {MAX_FILE_BYTES} bytes: expected an image.")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise BadImageError(f"{shown(address)} cannot be read ({error}): expected the address of an image.") from error
    return bytes(data)


def _upright_rgb(image: Image.Image, name: str, in_place: bool = False) -> Image.Image:
    if not image.width or not image.height:
        raise BadImageError(f"{name} has {image.width} x {image.height} pixels: expected at least one.")
    # Pillow only warns up to twice this limit
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise BadImageError(_bomb(name))
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):  # the values of black and white are unknown
        raise BadImageError(f"{name} has 32-bit pixel values (mode {image.mode}): convert it to 8 bits per channel.")
    try:
        tags = getattr(image, "tag_v2", {})  # of a TIFF file; images made from this one have none
        if not in_place:
            return _to_rgb(ImageOps.exif_transpose(image), tags)
        ImageOps.exif_transpose(image, in_place=True)  # without a copy
        return _to_rgb(image, tags)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many types on damaged data
        raise BadImageError(_damaged(name, error)) from error


def _to_rgb(image: Image.Image, tags: Any) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits (mode I from a PGM file), which convert() would clip at 255: all white
        image = _eight_bits(image, tags)
    if image.mode in ("La", "RGBa"):  # colours that are multiplied by their opacity
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image, tags: Any) -> Image.Image:
    """Convert 16-bit grey to 8 bits; the value that is transparent in a PNG file stays transparent.

    A TIFF file may have 12 bits, and may define 0 as white.
    """
    values = np.asarray(image)  # (H, W), of either byte order
    bits = min(16, *tags.get(ExifTags.Base.BitsPerSample, (16,)))
    pixels = (values >> (bits - 8)).astype(np.uint8)
    grey = Image.fromarray(255 - pixels if tags.get(ExifTags.Base.PhotometricInterpretation) == 0 else pixels)
    if "transparency" in image.info:
        opaque = (values != image.info["transparency"]).astype(np.uint8) * 255
        grey.putalpha(Image.fromarray(opaque))
    return grey


def _bytes_of(array: np.ndarray, unit: bool) -> np.ndarray:
    """Convert pixels to uint8."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16 or array.dtype.kind not in "iuf":
        raise ValueError(f"pixels of type {array.dtype}: expected uint8, or floats; scale 16 bits to 8 first.")
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    most = 1 if unit and array.dtype.kind == "f" else 255
    if not (low >= 0 and high <= most):  # NaN too
        raise ValueError(
            f"pixels from {low:g} to {high:g}: expected 0 to {most}. With do_rescale=False, floats are in [0, 1]; with "
            "do_rescale=True, the default, they are in 0 to 255."
        )
    if array.dtype.kind == "f" and most == 255 and 0 < high <= 1:
        raise ValueError(
            f"float pixels from {low:g} to {high:g} would be divided by 255 again and come out black. If they are in "
            "[0, 1], give do_rescale=False."
        )
    return np.round(array * (255 // most)).astype(np.uint8)


def _bomb(name: str) -> str:
    return (
        f"{name} has more than {Image.MAX_IMAGE_PIXELS} pixels, which may be a decompression bomb. "
        "Shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it."
    )


def _damaged(name: str, error: Exception) -> str:
    return f"{name} is damaged or truncated ({error}). Copy or download it again."


__all__ = ["BadImageError", "decode_image", "fetch_image", "open_image"]
