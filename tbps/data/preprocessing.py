"""What `TBPSImageProcessor` does to a picture, in two steps: small bytes for the loader, floats for the model.

Its workers hand on a quarter of the bytes, and the floats are made once a batch, on the model's device.

JPEG files by torchvision, where it is installed: about twice as fast as Pillow, and nearly the same pixels.
"""

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image

from tbps.data.images import ImageSource, open_image, read_image_file

MODES = {Image.Resampling.BILINEAR: "bilinear", Image.Resampling.BICUBIC: "bicubic"}


@cache
def torchvision_io() -> Any | None:
    """`torchvision.io`, or None where it is not installed or was built for another torch."""
    try:
        from torchvision import io
    except (ImportError, OSError, RuntimeError):
        return None
    return io


def read_jpeg(source: ImageSource, size: tuple[int, int], resample: int) -> np.ndarray | None:
    """A plain RGB JPEG file, decoded and resized to (H, W): (H, W, 3) uint8, or None where Pillow must look at it.

    Both decode by libjpeg-turbo; resizing rounds otherwise: pixels differ from Pillow's by at most 1 of 255 (bicubic:
    2), by less than 0.05 on average. What is no plain JPEG (another format, grey, CMYK, turned by EXIF, larger than
    Pillow allows, damaged) is left to Pillow.
    """
    io, mode = torchvision_io(), MODES.get(Image.Resampling(resample))
    if io is None or mode is None or not isinstance(source, str | Path | bytes):
        return None
    try:
        data = source if isinstance(source, bytes) else read_image_file(source)
        if not is_plain_jpeg(Image.open(BytesIO(data), formats=["JPEG"])):
            return None
        decoded = io.decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))  # (3, height, width)
    except Exception:  # whatever is wrong with it, Pillow's path reads it after all or names the file
        return None
    return F.interpolate(decoded[None], size, mode=mode, antialias=True)[0].permute(1, 2, 0).contiguous().numpy()


def is_plain_jpeg(header: Image.Image) -> bool:
    """Whether an opened, not yet decoded picture needs no more than decoding."""
    allowed = Image.MAX_IMAGE_PIXELS is None or header.width * header.height <= Image.MAX_IMAGE_PIXELS
    upright = header.getexif().get(ExifTags.Base.Orientation, 1) == 1
    return header.mode == "RGB" and allowed and upright


BACKENDS = ("auto", "pil", "torchvision")
TOLERANCE = 1e-5  # of normalised values; one step of a byte is about 0.015


class PixelPreparation:
    """`normalize(read(image))` equals `image_processor(image)["pixel_values"]` to 1e-6 where Pillow reads it; where
    torchvision does, bytes differ from Pillow's by at most 1 of 255 (bicubic: 2).

    Args:
        backend: "pil", "torchvision" (which reads JPEG files), or "auto", the second where it is installed.

    Attributes:
        blank: (H, W, 3) uint8 of the mean colour, which normalises to 0 but for rounding: what fills uncovered places.

    Raises:
        ValueError: an image processor that does something else than resize, rescale and normalise; a backend that
            there is not.
    """

    def __init__(self, image_processor: Any, backend: str = "auto") -> None:
        if backend not in BACKENDS:
            raise ValueError(f"image_backend={backend!r}: expected one of {', '.join(BACKENDS)}.")
        if backend == "torchvision" and torchvision_io() is None:
            raise ValueError(
                "image_backend='torchvision', which is not installed or does not fit this torch: take 'pil'."
            )
        self.by_torchvision = backend != "pil" and torchvision_io() is not None
        size, self.resample = image_processor.size, image_processor.resample
        if not (size["height"] and size["width"]):
            raise ValueError(
                f"image_processor.size={dict(size)}: expected height and width, as TBPSImageProcessor has."
            )
        self.height, self.width = int(size["height"]), int(size["width"])
        self.mean, self.deviation = (
            torch.tensor(values, dtype=torch.float64).view(3, 1, 1).div(image_processor.rescale_factor).float()
            for values in (image_processor.image_mean, image_processor.image_std)
        )
        colour = self.mean.flatten().round().clamp(0, 255).byte().numpy()
        self.blank = np.broadcast_to(colour, (self.height, self.width, 3)).copy()
        check_same(self, image_processor)

    def read(self, source: ImageSource) -> np.ndarray:
        """A picture of any kind that `open_image` takes -> (H, W, 3) uint8.

        Raises:
            BadImageError: it is no readable picture; the message names it.
        """
        if self.by_torchvision:
            pixels = read_jpeg(source, (self.height, self.width), self.resample)
            if pixels is not None:
                return pixels
        return self.resize(open_image(source))

    def resize(self, image: Image.Image) -> np.ndarray:
        """An RGB image -> (H, W, 3) uint8, read-only."""
        return np.asarray(image.resize((self.width, self.height), resample=self.resample))

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) uint8 -> float32, on the device where they are."""
        mean, deviation = self.mean.to(pixels.device), self.deviation.to(pixels.device)
        floats = pixels.to(torch.float32, memory_format=torch.contiguous_format)
        return floats.sub_(mean).div_(deviation)


def stack_pixels(pictures: list[np.ndarray]) -> torch.Tensor:
    """B pictures (H, W, 3) uint8 -> (B, 3, H, W) uint8, a view whose channels lie last: nothing is transposed."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def check_same(preparation: PixelPreparation, image_processor: Any) -> None:
    """Compare both ways on a small picture of every byte value.

    Raises:
        ValueError: they differ.
    """
    noise = np.random.default_rng(0).integers(0, 256, (17, 11, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    expected = image_processor(picture, return_tensors="pt")["pixel_values"]
    found = preparation.normalize(stack_pixels([preparation.resize(picture)]))
    if expected.shape != found.shape or (expected - found).abs().max() > TOLERANCE:
        raise ValueError(
            f"{type(image_processor).__name__} does not just resize to {preparation.height}x{preparation.width} pixels "
            "and rescale and normalise, which is how training pictures are prepared: use a TBPSImageProcessor."
        )
