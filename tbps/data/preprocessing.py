"""Image preparation for training, in two steps that together equal `TBPSImageProcessor`.

Loader workers decode and resize to bytes, a quarter of the size of floats. Normalisation to floats happens once per
batch, on the device of the model. If torchvision is installed, it decodes JPEG files about twice as fast as Pillow.
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
BACKENDS = ("auto", "pil", "torchvision")
TOLERANCE = 1e-5  # of normalised values; one step of a byte is about 0.015


@cache
def torchvision_io() -> Any | None:
    """Import `torchvision.io`; None if it is not installed or was built for another version of torch."""
    try:
        from torchvision import io
    except (ImportError, OSError, RuntimeError):
        return None
    return io


def read_jpeg(source: ImageSource, size: tuple[int, int], resample: int) -> np.ndarray | None:
    """Decode and resize a plain RGB JPEG file with torchvision.

    torchvision and Pillow both decode with libjpeg-turbo but round differently when they resize: pixels differ by at
    most 1 of 255 (bicubic: 2), and by less than 0.05 on average. Pillow handles everything else: other formats, grey
    or CMYK, EXIF rotation, images larger than Pillow allows, damaged files.

    Args:
        size: (H, W) of the result.
        resample: A resampling filter of Pillow.

    Returns:
        (H, W, 3) uint8, or None if Pillow must read the image.
    """
    io, mode = torchvision_io(), MODES.get(Image.Resampling(resample))
    if io is None or mode is None or not isinstance(source, str | Path | bytes):
        return None
    try:
        data = source if isinstance(source, bytes) else read_image_file(source)
        if not is_plain_jpeg(Image.open(BytesIO(data), formats=["JPEG"])):
            return None
        decoded = io.decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))  # (3, height, width)
    except Exception:  # whatever is wrong, Pillow reads the image after all or names the file
        return None
    return F.interpolate(decoded[None], size, mode=mode, antialias=True)[0].permute(1, 2, 0).contiguous().numpy()


def is_plain_jpeg(header: Image.Image) -> bool:
    """Whether an opened, not yet decoded image needs nothing but decoding: RGB, upright, not too large."""
    allowed = Image.MAX_IMAGE_PIXELS is None or header.width * header.height <= Image.MAX_IMAGE_PIXELS
    upright = header.getexif().get(ExifTags.Base.Orientation, 1) == 1
    return header.mode == "RGB" and allowed and upright


class PixelPreparation:
    """Prepare images so that `normalize(read(image))` equals `image_processor(image)["pixel_values"]` to 1e-6.

    This holds for images that Pillow reads. With torchvision, see `read_jpeg` for the difference.

    Args:
        image_processor: The image processor of the model.
        backend: "pil", "torchvision" (for JPEG files), or "auto" for torchvision if it is installed.

    Attributes:
        blank: (H, W, 3) uint8 of the mean colour, which normalises to 0 up to rounding. It fills erased areas.

    Raises:
        ValueError: The image processor does more than resize, rescale and normalise, or the backend is unknown or not
            installed.
    """

    def __init__(self, image_processor: Any, backend: str = "auto") -> None:
        if backend not in BACKENDS:
            raise ValueError(f"image_backend must be one of {', '.join(BACKENDS)}, got {backend!r}.")
        if backend == "torchvision" and torchvision_io() is None:
            raise ValueError(
                "image_backend='torchvision' needs torchvision, which is not installed or was built for another "
                "torch. Use 'pil'."
            )
        self.uses_torchvision = backend != "pil" and torchvision_io() is not None
        size, self.resample = image_processor.size, image_processor.resample
        if not (size["height"] and size["width"]):
            raise ValueError(
                f"image_processor.size must have height and width, as in TBPSImageProcessor, got {dict(size)}."
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
        """Read and resize an image from any source that `open_image` takes: (H, W, 3) uint8.

        Raises:
            BadImageError: The image cannot be read. The message names it.
        """
        if self.uses_torchvision:
            pixels = read_jpeg(source, (self.height, self.width), self.resample)
            if pixels is not None:
                return pixels
        return self.resize(open_image(source))

    def resize(self, image: Image.Image) -> np.ndarray:
        """Resize an RGB image: (H, W, 3) uint8, read-only."""
        return np.asarray(image.resize((self.width, self.height), resample=self.resample))

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Rescale and normalise a batch on its device: (B, 3, H, W) uint8 -> float32."""
        mean, deviation = self.mean.to(pixels.device), self.deviation.to(pixels.device)
        floats = pixels.to(torch.float32, memory_format=torch.contiguous_format)
        return floats.sub_(mean).div_(deviation)


def stack_pixels(images: list[np.ndarray]) -> torch.Tensor:
    """Stack B images (H, W, 3) uint8 to (B, 3, H, W) uint8, a channels-last view: nothing is transposed."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def check_same(preparation: PixelPreparation, image_processor: Any) -> None:
    """Compare the preparation with the image processor on a small random image.

    Raises:
        ValueError: They differ.
    """
    noise = np.random.default_rng(0).integers(0, 256, (17, 11, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    expected = image_processor(image, return_tensors="pt")["pixel_values"]
    found = preparation.normalize(stack_pixels([preparation.resize(image)]))
    if expected.shape != found.shape or (expected - found).abs().max() > TOLERANCE:
        raise ValueError(
            f"{type(image_processor).__name__} does not just resize to {preparation.height}x{preparation.width} pixels "
            "and rescale and normalise, which is how training images are prepared. Use a TBPSImageProcessor."
        )
