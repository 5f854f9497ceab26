"""Pictures from wherever users keep them: the one way in which files, bytes, PIL images and arrays become upright RGB
images, or an error that names what is at fault."""

import base64
import binascii
import os
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from huggingface_hub.utils import httpx  # the client that Transformers fetches images by
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from .files_tbps import printable, read_regular

ImageSource = str | os.PathLike[str] | bytes | BinaryIO | Image.Image

MAX_FILE_BYTES = 2**29  # of a file that is read as a whole; may be set
_ADDRESSES = ("http://", "https://", "file:/", "data:image/")
SHOWN = 400  # characters of a path in messages
# Pillow would start Ghostscript for the first; of the others it knows the header and cannot open a picture
NOT_OPENED = frozenset({"EPS", "PDF", "MPEG", "BUFR", "GRIB", "HDF5", "WMF", "IPTC"})


class BadImageError(ValueError):
    """An image cannot be read; the message names it and says why."""


def open_image(source: ImageSource) -> Image.Image:
    """An RGB image, fully loaded and turned upright by its EXIF orientation.

    Transparent pixels are laid on white, 16-bit grey is scaled to 8 bits, and of an animation the first frame is taken.
    An image passed in is left as it is; a file object is read from where it stands and stays open.

    Raises:
        BadImageError: the file is missing, no regular file, empty, truncated, no image, has more than
            `MAX_FILE_BYTES` bytes or more pixels than `PIL.Image.MAX_IMAGE_PIXELS` (a decompression bomb).
        TypeError: the source is of another type.
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
    """As `open_image`; text may also be an http(s) address, a `data:` address or an image in base64, as
    `transformers.image_utils.load_image` takes them. `timeout`: seconds to wait for an address.

    Raises:
        BadImageError: as `open_image`, or an address that gives no image.
    """
    if not isinstance(source, str) or os.path.isfile(source):
        return open_image(source)
    if source.startswith(("http://", "https://")):
        return decode_image(_download(source, timeout), shown(source))
    text = source.split(",", 1)[-1] if source.startswith("data:image/") else source
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return open_image(source)  # which says what is wrong with it as a path
    return decode_image(data, f"{shown(source)}, read as base64,")


def names_image(text: str) -> bool:
    """Whether text is the address or the path of an image rather than words: an address as `fetch_image` takes it, or
    the path of a file that is there: one that ends as images do, or one with folders in it."""
    Image.init()
    text = text.strip()
    if text.lower().startswith(_ADDRESSES):
        return True
    ending = os.path.splitext(text)[1].lower()
    return (os.sep in text or ending in Image.EXTENSION) and os.path.isfile(os.path.expanduser(text))


def image_source(value: ImageSource | dict[str, Any]) -> ImageSource:
    """What `open_image` takes, from a cell of a `datasets.Image(decode=False)` column: its bytes, or else its path.

    Any other value passes through.

    Raises:
        BadImageError: the cell has neither bytes nor a path.
    """
    if not isinstance(value, dict):
        return value
    if value.get("bytes") is not None:
        return bytes(value["bytes"])
    if value.get("path") is not None:
        return str(value["path"])
    raise BadImageError(f"an image cell holds neither bytes nor a path: {value!r}. Expected one of the two.")


def decode_image(data: bytes, name: str) -> Image.Image:
    """The picture in the bytes of a file, as of `open_image`; `name` is what messages call it.

    Raises:
        BadImageError: it is empty, damaged, too large or no image.
    """
    if not data:
        raise BadImageError(f"{name} is empty (0 bytes): copy or download it again.")
    try:
        image = Image.open(BytesIO(data), formats=opened_formats())
    except UnidentifiedImageError as error:
        raise BadImageError(f"{name} is not an image of a known format: expected JPEG, PNG or the like.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImageError(_bomb(name)) from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many types on damaged data
        raise BadImageError(_damaged(name, error)) from error
    return _upright_rgb(image, name, in_place=True)


def opened_formats() -> list[str]:
    """The formats that are opened: all that Pillow has here, with plugins, but those that are no pictures or programs
    rather than pictures."""
    Image.init()
    return [name for name in Image.ID if name not in NOT_OPENED]


def read_image_file(path: str | Path) -> bytes:
    """The bytes of a file that should be an image.

    Raises:
        BadImageError: it is missing, cannot be read, or is no regular file.
    """
    name = shown(path)
    try:
        return read_regular(path, MAX_FILE_BYTES)
    except FileNotFoundError as error:
        raise BadImageError(f"{name} does not exist: check the path, a relative one starts at {Path.cwd()}.") from error
    except (OSError, ValueError) as error:  # ValueError: the path holds a NUL character
        reason = printable(str(getattr(error, "strerror", None) or error)).removeprefix(name).strip(" .")
        raise BadImageError(f"{name} cannot be read ({reason}): expected an image file.") from error


def array_image(array: np.ndarray, channels_last: bool, unit: bool) -> Image.Image:
    """An upright RGB image of an array of pixels, as `open_image` makes it of the same picture.

    Args:
        array: (H, W), (H, W, C) or (C, H, W) of 1, 3 or 4 channels. unit: floats are in [0, 1], not in 0 to 255.

    Raises:
        ValueError: values that are no pixels, or of the other range than the one that was stated.
    """
    pixels = _bytes_of(array, unit)
    if pixels.ndim == 3 and not channels_last:
        pixels = np.moveaxis(pixels, 0, -1)
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    return open_image(Image.fromarray(np.ascontiguousarray(pixels)))


def shown(path: str | Path) -> str:
    """A path as messages show it: `printable`, and a long one without its middle."""
    text = printable(str(path))
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}...{text[-SHOWN // 2 :]}"


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
                    raise BadImageError(f"{shown(address)} gives more than {MAX_FILE_BYTES} bytes: expected an image.")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise BadImageError(f"{shown(address)} cannot be read ({error}): expected the address of an image.") from error
    return bytes(data)


def _upright_rgb(image: Image.Image, name: str, in_place: bool = False) -> Image.Image:
    if not image.width or not image.height:
        raise BadImageError(f"{name} has {image.width} x {image.height} pixels: expected one at least.")
    # PIL itself refuses only twice this limit; below that it warns
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise BadImageError(_bomb(name))
    if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):  # which of their values are black and white?
        raise BadImageError(f"{name} has 32-bit pixel values (mode {image.mode}): convert it to 8 bits a channel.")
    try:
        tags = getattr(image, "tag_v2", {})  # of a TIFF file; what is made of the image has none
        if not in_place:
            return _to_rgb(ImageOps.exif_transpose(image), tags)
        ImageOps.exif_transpose(image, in_place=True)  # copies nothing
        return _to_rgb(image, tags)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many types on damaged data
        raise BadImageError(_damaged(name, error)) from error


def _to_rgb(image: Image.Image, tags: Any) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, in a PGM file as I; convert() would clip at 255: all white
        image = _eight_bits(image, tags)
    if image.mode in ("La", "RGBa"):  # colours already multiplied by their opacity
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image, tags: Any) -> Image.Image:
    """16-bit grey as 8 bits; the value that a PNG file calls transparent stays so. A TIFF file may have 12 bits, and
    say that 0 is white."""
    values = np.asarray(image)  # (H, W), of either order of bytes
    bits = min(16, *tags.get(ExifTags.Base.BitsPerSample, (16,)))
    pixels = (values >> (bits - 8)).astype(np.uint8)
    grey = Image.fromarray(255 - pixels if tags.get(ExifTags.Base.PhotometricInterpretation) == 0 else pixels)
    if "transparency" in image.info:
        opaque = (values != image.info["transparency"]).astype(np.uint8) * 255
        grey.putalpha(Image.fromarray(opaque))
    return grey


def _bytes_of(array: np.ndarray, unit: bool) -> np.ndarray:
    """Pixels as uint8."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16 or array.dtype.kind not in "iuf":
        raise ValueError(f"pixels of type {array.dtype}: expected uint8, or floats; scale 16 bits to 8 first.")
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    most = 1 if unit and array.dtype.kind == "f" else 255
    if not (low >= 0 and high <= most):  # NaN too
        raise ValueError(
            f"pixels from {low:g} to {high:g}: expected 0 to {most}. do_rescale=False says that floats are in [0, 1]; "
            "do_rescale=True, the default, that they are in 0 to 255."
        )
    if array.dtype.kind == "f" and most == 255 and 0 < high <= 1:
        raise ValueError(
            f"float pixels from {low:g} to {high:g} would be divided by 255 once more and come out black: give "
            "do_rescale=False, which says that they are in [0, 1] already."
        )
    return np.round(array * (255 // most)).astype(np.uint8)


def _bomb(name: str) -> str:
    return (
        f"{name} has more than {Image.MAX_IMAGE_PIXELS} pixels, which may be a decompression bomb: "
        "shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it."
    )


def _damaged(name: str, error: Exception) -> str:
    return f"{name} is damaged or truncated ({error}): copy or download it again."


__all__ = ["BadImageError", "decode_image", "fetch_image", "open_image"]
