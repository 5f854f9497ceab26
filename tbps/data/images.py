"""Images from wherever users keep them, as RGB, or an error that names the file at fault."""

from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from tbps.printable import printable

ImageSource = str | Path | bytes | BinaryIO | Image.Image

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
SHOWN = 400  # characters of a path in messages


class BadImageError(ValueError):
    """An image cannot be read; the message names it and says why."""


def open_image(source: ImageSource) -> Image.Image:
    """An RGB image, fully loaded and turned upright by its EXIF orientation.

    Transparent pixels are laid on white, 16-bit grey is scaled to 8 bits, and of an animation the first frame is taken.
    An image passed in is left as it is; a file object is read from where it stands and stays open.

    Raises:
        BadImageError: the file is missing, a folder, empty, truncated, no image, or has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS` (a decompression bomb).
        TypeError: the source is of another type.
    """
    name = _describe(source)
    if isinstance(source, str | Path):
        return _decode(_read(Path(source), name), name)
    if isinstance(source, bytes):
        return _decode(source, name)
    if isinstance(source, Image.Image):
        return _upright_rgb(source, name)
    return _decode(source.read(), name)


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
        return str(getattr(source, "filename", "") or "an image in memory")
    if hasattr(source, "read"):
        return str(getattr(source, "name", "an image file object"))
    raise TypeError(f"cannot open {type(source).__name__} as an image: expected a path, bytes, a file or a PIL image.")


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BadImageError(f"{name} does not exist: check the path, a relative one starts at {Path.cwd()}.") from error
    except (OSError, ValueError) as error:  # ValueError: the path holds a NUL character
        reason = getattr(error, "strerror", None) or error
        raise BadImageError(f"{name} cannot be read ({reason}): expected an image file.") from error


def _decode(data: bytes, name: str) -> Image.Image:
    if not data:
        raise BadImageError(f"{name} is empty (0 bytes): copy or download it again.")
    try:
        image = Image.open(BytesIO(data))
    except UnidentifiedImageError as error:
        raise BadImageError(f"{name} is not an image of a known format: expected JPEG, PNG or the like.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImageError(_bomb(name)) from error
    except Exception as error:  # decoders raise many types on damaged data
        raise BadImageError(_damaged(name, error)) from error
    return _upright_rgb(image, name, in_place=True)


def _upright_rgb(image: Image.Image, name: str, in_place: bool = False) -> Image.Image:
    if not image.width or not image.height:
        raise BadImageError(f"{name} has {image.width} x {image.height} pixels: expected one at least.")
    # PIL itself refuses only twice this limit; below that it warns
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        raise BadImageError(_bomb(name))
    if image.mode in ("I", "F"):  # nobody can know which of their values are black and white
        raise BadImageError(f"{name} has 32-bit pixel values (mode {image.mode}): convert it to 8 bits a channel.")
    try:
        if not in_place:
            return _to_rgb(ImageOps.exif_transpose(image))
        ImageOps.exif_transpose(image, in_place=True)  # copies nothing
        return _to_rgb(image)
    except Exception as error:  # decoders raise many types on damaged data
        raise BadImageError(_damaged(name, error)) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode.startswith("I;16"):  # convert() would clip at 255: all white
        image = image.point(lambda value: value / 256).convert("L")
    return image if image.mode == "RGB" else image.convert("RGB")


def _bomb(name: str) -> str:
    return (
        f"{name} has more than {Image.MAX_IMAGE_PIXELS} pixels, which may be a decompression bomb: "
        "shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it."
    )


def _damaged(name: str, error: Exception) -> str:
    return f"{name} is damaged or truncated ({error}): copy or download it again."
