"""An image gives the same pixels in every file format and by every route; bad images are named."""

import base64
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tbps import TBPSModel, TBPSProcessor, TextBasedPersonSearchPipeline
from tbps.data.images import BadImageError, open_image
from tbps.data.preprocessing import PixelPreparation
from tbps.evaluation.encoding import encode_images
from tbps.gallery import Gallery

HEIGHT, WIDTH = 21, 12
RNG = np.random.default_rng(5)
GREY16 = RNG.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
COLOUR = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
COLOUR[4:9] = (9, 8, 7)
OPACITY = RNG.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def rotated(orientation: int, file_format: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.fromarray(COLOUR), file_format, exif=exif)


def see_through(grey: bool = False) -> Image.Image:
    image = Image.fromarray(COLOUR[..., 0] if grey else COLOUR)
    image.putalpha(Image.fromarray(OPACITY))
    return image


def palette(**options: Any) -> bytes:
    return saved(Image.fromarray(COLOUR).quantize(16), "PNG", **options)


def big_endian() -> Image.Image:
    return Image.frombytes("I;16B", (WIDTH, HEIGHT), GREY16.astype(">u2").tobytes())


def animated(file_format: str) -> bytes:
    frames = [Image.fromarray(COLOUR), Image.new("RGB", (WIDTH, HEIGHT), "red")]
    return saved(frames[0], file_format, save_all=True, append_images=frames[1:])


KINDS: dict[str, Callable[[], bytes]] = {
    **{f"png turned {n}": lambda n=n: rotated(n) for n in range(2, 9)},  # type: ignore[misc]
    "jpeg turned": lambda: rotated(6, "JPEG"),
    "rgba": lambda: saved(see_through(), "PNG"),
    "rgba webp": lambda: saved(see_through(), "WEBP", lossless=True),
    "grey and alpha": lambda: saved(see_through(grey=True), "PNG"),
    "palette": palette,
    "palette, one colour transparent": lambda: palette(transparency=3),
    "palette, all kinds of opacity": lambda: palette(transparency=bytes(range(0, 256, 16))),
    "rgb, one colour transparent": lambda: saved(Image.fromarray(COLOUR), "PNG", transparency=(9, 8, 7)),
    "16-bit png": lambda: saved(Image.fromarray(GREY16), "PNG"),
    "16-bit tiff": lambda: saved(Image.fromarray(GREY16), "TIFF"),
    "16-bit tiff, big-endian": lambda: saved(big_endian(), "TIFF"),
    "16-bit pgm": lambda: saved(Image.fromarray(GREY16), "PPM"),
    "16-bit jpeg 2000": lambda: saved(Image.fromarray(GREY16), "JPEG2000"),
    "cmyk jpeg": lambda: saved(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
    "ycbcr tiff": lambda: saved(Image.fromarray(COLOUR).convert("YCbCr"), "TIFF"),
    "lab tiff": lambda: saved(Image.fromarray(COLOUR).convert("RGB").convert("LAB"), "TIFF"),
    "black and white": lambda: saved(Image.fromarray(COLOUR).convert("1"), "PNG"),
    "grey jpeg": lambda: saved(Image.fromarray(COLOUR[..., 0]), "JPEG"),
    "gif": lambda: animated("GIF"),
    "animated png": lambda: animated("PNG"),
    "animated webp": lambda: animated("WEBP"),
    "mpo": lambda: animated("MPO"),
    "avif": lambda: saved(see_through(), "AVIF"),
    "tga": lambda: saved(see_through(), "TGA"),
}


@pytest.fixture(params=KINDS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "image.img"
    path.write_bytes(KINDS[request.param]())
    return path


def ways(path: Path) -> dict[str, Any]:
    """Everything that users may give a processor for one file."""
    data = path.read_bytes()
    stored = [{"bytes": data, "path": None}]
    decoded = datasets.Dataset.from_dict({"image": stored}).cast_column("image", datasets.Image())
    return {
        "opened": Image.open(BytesIO(data)),
        "a list of opened": [Image.open(BytesIO(data))],
        "a list of lists": [[Image.open(BytesIO(data))]],
        "a path": path,
        "a path as text": str(path),
        "bytes": data,
        "a file": BytesIO(data),
        "base64": base64.b64encode(data).decode(),
        "a data address": f"data:image/png;base64,{base64.b64encode(data).decode()}",
        "a cell of bytes": stored[0],
        "a cell of a path": {"bytes": None, "path": str(path)},
        "a decoded cell": decoded[0]["image"],
        "a column": decoded["image"],
        "a generator": (Image.open(BytesIO(one)) for one in [data]),
        "by open_image": open_image(path),
    }


def test_the_processor_sees_the_same_image(file: Path, tiny_processor: TBPSProcessor) -> None:
    upright = np.asarray(open_image(file))
    expected = tiny_processor.image_processor(Image.fromarray(upright), return_tensors="pt").pixel_values
    for way, image in ways(file).items():
        for found in (
            tiny_processor(images=image, return_tensors="pt") if way != "a generator" else None,
            tiny_processor.image_processor(ways(file)[way], return_tensors="pt"),
        ):
            assert found is None or torch.equal(found.pixel_values, expected), way
    preparation = PixelPreparation(tiny_processor.image_processor, backend="pil")
    small = np.asarray(Image.fromarray(upright).resize((preparation.width, preparation.height), preparation.resample))
    assert np.array_equal(preparation.read(file), small)


def test_pipeline_gallery_and_encoding_see_the_same_image(
    tiny_model: TBPSModel, tiny_processor: TBPSProcessor, tmp_path: Path
) -> None:
    files = [tmp_path / f"{place:02d}.img" for place in range(len(KINDS))]
    for file, make in zip(files, KINDS.values(), strict=True):
        file.write_bytes(make())
    opened = [Image.open(BytesIO(file.read_bytes())) for file in files]
    pixels = tiny_processor(images=opened, return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = tiny_model.get_image_features(pixels).pooler_output
    assert torch.equal(encode_images(tiny_model, tiny_processor, files, progress=False), expected)
    gallery = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)
    gallery.add(files, progress=False)
    scores = {hit.path: hit.score for hit in gallery.search("a red bag", k=len(files))}
    pipeline = TextBasedPersonSearchPipeline(model=tiny_model, processor=tiny_processor)
    assert len(scores) == len(files)
    for hit in pipeline([str(file) for file in files], "a red bag", top_k=len(files)):
        assert scores[hit["path"]] == pytest.approx(hit["score"], abs=1e-6)
    for (best,) in gallery.search_embeddings(expected, 1):
        assert best.score == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_follow_the_standard(orientation: int) -> None:
    """EXIF 2.3, tag 0x0112, by hand."""
    turned = {
        1: COLOUR,
        2: COLOUR[:, ::-1],
        3: COLOUR[::-1, ::-1],
        4: COLOUR[::-1],
        5: COLOUR.transpose(1, 0, 2),
        6: COLOUR.transpose(1, 0, 2)[:, ::-1],
        7: COLOUR.transpose(1, 0, 2)[::-1, ::-1],
        8: COLOUR.transpose(1, 0, 2)[::-1],
    }
    assert np.array_equal(np.asarray(open_image(rotated(orientation))), turned[orientation])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("16-bit")])
def test_16_bits_are_scaled_and_not_clipped(kind: str) -> None:
    assert np.array_equal(np.asarray(open_image(KINDS[kind]()))[..., 1], GREY16 >> 8)


def test_tiff_of_12_bits_and_tiff_whose_0_is_white() -> None:
    """Written by hand, because Pillow writes neither: little-endian, one strip after the directory."""
    even = np.arange(4 * 6, dtype=np.uint16).reshape(4, 6) * 170  # 0 to 3910
    packed = bytearray()
    for one, other in even.reshape(-1, 2).tolist():
        packed += bytes([one >> 4, (one & 15) << 4 | other >> 8, other & 255])
    for bits, white, data, expected in (
        (12, 1, bytes(packed), even >> 4),
        (16, 0, (even * 16).astype("<u2").tobytes(), 255 - (even >> 4)),
    ):
        tags = {256: 6, 257: 4, 258: bits, 259: 1, 262: white, 273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: 4, 279: len(data)}
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        file = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data
        assert np.array_equal(np.asarray(open_image(file))[..., 0], expected)
        assert np.array_equal(np.asarray(open_image(Image.open(BytesIO(file))))[..., 0], expected)


def test_a_transparent_16_bit_value_becomes_white() -> None:
    image = Image.fromarray(GREY16)
    image.info["transparency"] = int(GREY16[3, 4])
    found = np.asarray(open_image(image))[..., 0]
    assert np.array_equal(found, np.where(GREY16[3, 4] == GREY16, 255, GREY16 >> 8))


def test_transparency_blends_with_white_within_one_level() -> None:
    share = OPACITY[..., None] / 255
    expected = share * COLOUR + (1 - share) * 255
    for kind in ("rgba", "rgba webp", "tga"):
        found = np.asarray(open_image(KINDS[kind]())).astype(float)
        seen = OPACITY > 0  # WEBP forgets the colours of what cannot be seen
        assert np.abs(found - expected)[seen].max() <= 1, kind
        assert (found[~seen] == 255).all(), kind


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "LA", "PA",
                                  "La", "RGBa", "I;16", "I;16L", "I;16B", "I;16N"])  # fmt: skip
def test_every_mode_of_pillow_is_accepted(mode: str, tiny_processor: TBPSProcessor) -> None:
    image = Image.new(mode, (WIDTH, HEIGHT))
    assert open_image(image).mode == "RGB"
    assert tiny_processor(images=image, return_tensors="pt").pixel_values.shape == (1, 3, 32, 16)


def layouts(pixels: np.ndarray) -> dict[str, Any]:
    """An RGB image (H, W, 3) uint8 as arrays and tensors."""
    first = pixels.transpose(2, 0, 1)
    return {
        "channels last": pixels,
        "channels first": first,
        "tensor": torch.from_numpy(first.copy()),
        "tensor, channels last": torch.from_numpy(pixels),
        "batch": pixels[None],
        "list of tensors": [torch.from_numpy(pixels)],
        "int64": pixels.astype(np.int64),
        "floats to 255": first.astype(np.float32),
        "float64": pixels.astype(float),
        "bfloat16": torch.from_numpy(first.copy()).to(torch.bfloat16),  # holds 0 to 255 exactly
        "of a gradient": torch.from_numpy(first.astype(np.float32)).requires_grad_(),
    }


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_arrays_give_the_pixels_of_their_image(data: st.DataObject) -> None:
    from tbps import TBPSImageProcessor

    processor = TBPSImageProcessor(size={"height": 16, "width": 8})
    height, width = data.draw(st.integers(5, 40)), data.draw(st.integers(5, 40))
    seed = data.draw(st.integers(0, 2**32 - 1))
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[0, 0] = 255  # an image without a value above 1 looks like floats in [0, 1]
    expected = processor(Image.fromarray(pixels), return_tensors="pt").pixel_values
    for layout, array in layouts(pixels).items():
        assert torch.equal(processor(array, return_tensors="pt").pixel_values, expected), layout
    for unit in (pixels / 255, (pixels / 255).astype(np.float32), torch.from_numpy(pixels) / 255):
        found = processor(unit, do_rescale=False, return_tensors="pt").pixel_values
        assert torch.equal(found, expected)
    grey = processor(Image.fromarray(pixels[..., 0]), return_tensors="pt").pixel_values
    for array in (pixels[..., 0], pixels[..., :1], pixels[None, ..., 0]):
        assert torch.equal(processor(array, return_tensors="pt").pixel_values, grey)


@pytest.mark.parametrize(
    ("image", "options", "match"),
    [
        (COLOUR / 255, {}, r"Image 0: float pixels.*divided by 255 again.*do_rescale=False"),
        (COLOUR / 1.0, {"do_rescale": False}, "expected 0 to 1"),
        (COLOUR, {"do_rescale": False}, "do_rescale=False means floats"),
        (Image.fromarray(COLOUR), {"do_rescale": False}, "these pixels are bytes"),
        (GREY16, {}, "uint16: expected uint8"),
        (COLOUR > 9, {}, "bool: expected uint8"),
        (COLOUR.astype(np.int32) * 3, {}, "expected 0 to 255"),
        (COLOUR / 100.0 - 1, {}, r"pixels from -1 to .*expected 0 to 255"),
        (np.full((9, 9, 3), np.nan), {}, "pixels from nan"),
        (COLOUR[..., :2], {}, "channel dimension"),
        (COLOUR[0, 0], {}, r"shape \(3,\)"),
        ([], {}, "no images"),
        ([COLOUR, 3], {}, "Image 1: cannot open int"),
        (see_through(), {"do_convert_rgb": False}, "mode RGBA"),
        ("nowhere.png", {}, r"Image 0: nowhere\.png does not exist"),
        (b"text", {}, "Image 0: an image of 4 bytes is not an image"),
        ({"bytes": None, "path": None}, {}, "must have bytes or a path"),
    ],
)
def test_bad_images_are_named(image: Any, options: dict[str, Any], match: str, tiny_processor: TBPSProcessor) -> None:
    with pytest.raises((BadImageError, TypeError, ValueError), match=match):
        tiny_processor.image_processor(image, return_tensors="pt", **options)


def test_bytes_as_pixel_values_are_refused_by_the_model(tiny_model: TBPSModel) -> None:
    with pytest.raises(ValueError, match=r"torch\.uint8 are not normalised"):
        tiny_model(pixel_values=torch.zeros(1, 3, 32, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"pixel_values must be a tensor .*, got ndarray"):
        tiny_model(pixel_values=np.zeros((1, 3, 32, 16), dtype=np.float32))


def test_unscaled_pixels_do_not_change(tiny_processor: TBPSProcessor) -> None:
    raw = tiny_processor.image_processor(COLOUR, do_rescale=False, do_normalize=False, return_tensors="np")
    assert np.array_equal(
        raw.pixel_values[0].transpose(1, 2, 0), np.asarray(Image.fromarray(COLOUR).resize((16, 32), Image.BILINEAR))
    )


def test_an_image_that_its_user_turned_is_not_turned_again(tiny_processor: TBPSProcessor) -> None:
    image = Image.open(BytesIO(rotated(6)))
    once = tiny_processor(images=image, return_tensors="pt").pixel_values
    turned = tiny_processor(images=ImageOps.exif_transpose(image), return_tensors="pt").pixel_values
    assert torch.equal(once, turned)
