"""JPEG files by torchvision, where it is installed: about twice as fast as Pillow, and nearly the same pixels."""

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image

from tbps.data.images import ImageSource, read_image_file

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
