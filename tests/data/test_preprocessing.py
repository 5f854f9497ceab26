"""Prepared images equal those of the image processor, with either decoder."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from tbps import TBPSImageProcessor
from tbps.data import preprocessing
from tbps.data.images import BadImageError
from tbps.data.preprocessing import PixelPreparation, is_plain_jpeg, read_jpeg, stack_pixels, torchvision_io

SIZE = {"height": 48, "width": 16}


def photograph(seed: int = 0, size: tuple[int, int] = (90, 200)) -> Image.Image:
    """Noise with the smoothness of an image; (width, height)."""
    rng = np.random.default_rng(seed)
    noise = Image.fromarray(rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8))
    return noise.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))


def jpeg(image: Image.Image, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=90, **options)
    return file.getvalue()


@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
@pytest.mark.parametrize("mean", [None, [0.5, 0.5, 0.5]])
def test_bytes_then_floats_are_the_image_processor(resample: int, mean: list[float] | None) -> None:
    settings = {"image_mean": mean, "image_std": [0.5, 0.25, 0.125]} if mean else {}
    processor = TBPSImageProcessor(size=SIZE, resample=resample, **settings)
    preparation = PixelPreparation(processor, "pil")
    images = [photograph(seed, size) for seed, size in enumerate([(90, 200), (16, 48), (10, 20), (333, 77)])]
    found = preparation.normalize(stack_pixels([preparation.read(image) for image in images]))
    expected = processor(images, return_tensors="pt")["pixel_values"]
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    assert (found - expected).abs().max() < 1e-6


def test_every_byte_is_normalised_as_the_processor_does() -> None:
    processor = TBPSImageProcessor(size={"height": 16, "width": 16})
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(np.stack([every, every.T, every[::-1]], axis=-1))
    found = PixelPreparation(processor).normalize(stack_pixels([np.asarray(image)]))
    assert (found - processor(image, return_tensors="pt")["pixel_values"]).abs().max() < 1e-6


def test_uncovered_areas_have_the_mean_colour() -> None:
    preparation = PixelPreparation(TBPSImageProcessor(size=SIZE))
    assert preparation.normalize(stack_pixels([preparation.blank])).abs().max() < 0.5 / 255 / 0.26


class Inverted(TBPSImageProcessor):
    """Does something more."""

    def normalize(self, image: np.ndarray, *args: object, **kwargs: object) -> np.ndarray:
        return -super().normalize(image, *args, **kwargs)


def test_another_image_processor_is_refused() -> None:
    for processor in (Inverted(size=SIZE), TBPSImageProcessor(size=SIZE, do_normalize=False)):
        with pytest.raises(ValueError, match=r"does not just resize to 48x16 pixels"):
            PixelPreparation(processor)
    with pytest.raises(ValueError, match=r"must have height and width.*, got \{"):
        PixelPreparation(TBPSImageProcessor(size={"shortest_edge": 20}))
    with pytest.raises(ValueError, match=r"image_backend must be one of auto, pil, torchvision, got 'opencv'"):
        PixelPreparation(TBPSImageProcessor(size=SIZE), "opencv")


def test_a_missing_backend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocessing, "torchvision_io", lambda: None)
    with pytest.raises(ValueError, match=r"image_backend='torchvision' needs torchvision, which is not installed"):
        PixelPreparation(TBPSImageProcessor(size=SIZE), "torchvision")
    assert not PixelPreparation(TBPSImageProcessor(size=SIZE)).uses_torchvision


def test_pillow_reads_everything_but_plain_jpegs(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    plain = [jpeg(photograph())]
    others = [jpeg(photograph().convert("L")), jpeg(photograph().convert("CMYK")), jpeg(photograph(), exif=turned)]
    for data, expected in [(data, True) for data in plain] + [(data, False) for data in others]:
        assert is_plain_jpeg(Image.open(BytesIO(data))) == expected
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(Image, "_decompression_bomb_check", lambda size: None)
    assert not is_plain_jpeg(Image.open(BytesIO(plain[0])))


class BrokenDecoder:
    """A torchvision that fails at every file."""

    @staticmethod
    def decode_jpeg(data: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unknown")


def test_pillow_reads_what_torchvision_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocessing, "torchvision_io", lambda: BrokenDecoder)
    processor, data = TBPSImageProcessor(size=SIZE), jpeg(photograph())
    assert read_jpeg(data, (48, 16), processor.resample) is None
    found = PixelPreparation(processor, "torchvision").read(data)
    assert np.array_equal(found, PixelPreparation(processor, "pil").read(data))


# -- with torchvision


needs_torchvision = pytest.mark.skipif(torchvision_io() is None, reason="torchvision is not installed")


@needs_torchvision
@pytest.mark.parametrize(("resample", "most"), [(Image.Resampling.BILINEAR, 1), (Image.Resampling.BICUBIC, 2)])
def test_torchvision_gives_nearly_the_pixels_of_pillow(resample: int, most: int) -> None:
    processor = TBPSImageProcessor(size={"height": 384, "width": 128}, resample=resample)
    fast, slow = PixelPreparation(processor, "torchvision"), PixelPreparation(processor, "pil")
    for seed, size in enumerate([(120, 300), (250, 600), (128, 384), (61, 177)]):
        data = jpeg(photograph(seed, size))
        assert read_jpeg(data, (384, 128), resample) is not None
        difference = np.abs(fast.read(data).astype(int) - slow.read(data).astype(int))
        assert difference.max() <= most
        assert difference.mean() < 0.05


@needs_torchvision
def test_damaged_files_are_named_with_torchvision_too(tmp_path: Path) -> None:
    preparation = PixelPreparation(TBPSImageProcessor(size=SIZE), "torchvision")
    data = jpeg(photograph())
    for name, content in {"cut.jpg": data[: len(data) // 2], "text.jpg": b"hello", "empty.jpg": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadImageError, match=name):
            preparation.read(tmp_path / name)
    with pytest.raises(BadImageError, match=r"gone\.jpg"):
        preparation.read(tmp_path / "gone.jpg")
