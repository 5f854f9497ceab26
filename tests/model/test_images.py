"""Every kind of image comes out RGB and upright; every kind of bad file is named."""

import contextlib
import os
import socket
from io import BytesIO

import pytest
from PIL import Image

from tbps.data.images import BadImageError, find_images, image_source, open_image, shown


def encoded(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def test_every_kind_of_source_gives_the_same_image(tmp_path, photo):
    path = tmp_path / "photo.png"
    photo.save(path)
    data = path.read_bytes()
    sources = [path, str(path), data, BytesIO(data), photo, Image.open(BytesIO(data))]
    for source in sources:
        image = open_image(source)
        assert image.mode == "RGB"
        assert image.tobytes() == photo.tobytes()
    with path.open("rb") as file:
        assert open_image(file).tobytes() == photo.tobytes()


def test_an_image_passed_in_is_left_as_it_is(photo):
    opened = open_image(photo)
    opened.paste("black", (0, 0, 8, 16))
    assert photo.getpixel((1, 0)) == (7, 13, 29)


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (Image.new("L", (2, 2), 90), (90, 90, 90)),
        (Image.new("1", (2, 2), 1), (255, 255, 255)),
        (Image.new("P", (2, 2), 0), (0, 0, 0)),
        (Image.new("RGBA", (2, 2), (200, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (2, 2), (200, 0, 0, 255)), (200, 0, 0)),
        (Image.new("LA", (2, 2), (10, 0)), (255, 255, 255)),
        (Image.new("CMYK", (2, 2), (0, 0, 0, 255)), (0, 0, 0)),
        (Image.new("I;16", (2, 2), 30000), (117, 117, 117)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_modes_become_rgb_on_white(image, pixel):
    opened = open_image(image)
    assert opened.mode == "RGB"
    assert opened.getpixel((0, 0)) == pixel


def test_a_transparent_palette_colour_becomes_white():
    opened = open_image(encoded(Image.new("P", (2, 2), 0), transparency=0))
    assert opened.getpixel((0, 0)) == (255, 255, 255)


def test_exif_orientation_is_applied(photo):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    opened = open_image(encoded(photo, exif=exif))
    assert opened.size == (16, 8)
    assert opened.getpixel((15, 0)) == photo.getpixel((0, 0))


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_truncated_files_are_named(tmp_path, photo, file_format):
    data = encoded(photo.resize((80, 160)), file_format)
    for length in (30, len(data) // 3, len(data) // 2, len(data) * 9 // 10):
        path = tmp_path / f"cut_{length}.img"
        path.write_bytes(data[:length])
        with pytest.raises(BadImageError, match=path.name):
            open_image(path)


def test_damaged_bytes_raise_only_bad_image_error(photo):
    data = encoded(photo)
    for position in range(8, len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        with contextlib.suppress(BadImageError):
            assert open_image(bytes(damaged)).mode == "RGB"


def test_files_that_are_not_images_are_named(tmp_path):
    text, empty = tmp_path / "notes.jpg", tmp_path / "empty.jpg"
    text.write_text("not an image")
    empty.touch()
    cases = {text: "is not an image", empty: "is empty", tmp_path / "gone.jpg": "does not exist"}
    for path, reason in cases.items():
        with pytest.raises(BadImageError, match=f"{path.name} {reason}"):
            open_image(path)
    with pytest.raises(BadImageError, match="cannot be read"):
        open_image(tmp_path)
    with pytest.raises(BadImageError, match="has 0 x 5 pixels"):
        open_image(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize("limit", [100, 10])  # PIL warns above the limit and refuses above twice the limit
def test_decompression_bombs(monkeypatch, photo, limit):
    data = encoded(photo)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    for source in (data, photo):
        with pytest.raises(BadImageError, match=f"more than {limit} pixels"):
            open_image(source)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_that_only_warns_is_refused_too(monkeypatch, photo):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BadImageError, match="more than 100 pixels"):
        open_image(encoded(photo))


def test_other_types_are_refused():
    with pytest.raises(TypeError, match="cannot open int as an image"):
        open_image(3)


def test_image_source_of_dataset_cells(photo):
    assert image_source({"path": "a.png", "bytes": None}) == "a.png"
    assert image_source({"path": "a.png", "bytes": b"data"}) == b"data"
    assert image_source(photo) is photo
    with pytest.raises(BadImageError, match="must have bytes or a path"):
        image_source({"path": None, "bytes": None})


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_of_32_bits_are_refused(tmp_path, mode):
    path = tmp_path / "deep.tiff"
    Image.new(mode, (4, 8), 1).save(path)
    with pytest.raises(BadImageError, match=rf"deep\.tiff.* has 32-bit pixel values \(mode {mode}\): convert it"):
        open_image(path)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a/Straße 7.jpg", "a/Straße 7.jpg"),
        (os.fsdecode(b"photo \xe9/\xc3\xa9.jpg"), "photo \\xe9/é.jpg"),
        ("two\nlines\x1b[2J", "two\\nlines\\x1b[2J"),
        ("\ud800", "\\ud800"),
        ("x" * 300 + "y" * 300, "x" * 200 + "..." + "y" * 200),
    ],
)
def test_paths_are_shown_without_terminal_control(path, text):
    assert shown(path) == text


def test_postscript_never_reaches_ghostscript(tmp_path, monkeypatch):
    """Whatever its name."""
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n showpage\n"
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *arguments: pytest.fail("run"))
    for name in ("page.eps", "photo.jpg"):
        (tmp_path / name).write_bytes(page)
        with pytest.raises(BadImageError, match="not an image in a known format"):
            open_image(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    listener = socket.socket(socket.AF_UNIX)
    with contextlib.chdir(tmp_path), listener:
        listener.bind("socket.png")
        for name, kind in (("fifo.png", "FIFO"), ("zero.png", "character device"), ("socket.png", "socket")):
            with pytest.raises(BadImageError, match=rf"{name} cannot be read.*is a {kind}"):
                open_image(name)
    with pytest.raises(BadImageError, match="holds no image"):
        find_images(tmp_path)


def test_a_file_above_the_limit_is_named_and_not_read(tmp_path, monkeypatch, photo):
    photo.save(tmp_path / "a.png")
    monkeypatch.setattr("tbps.images_tbps.MAX_FILE_BYTES", 10)
    with pytest.raises(BadImageError, match=r"a\.png cannot be read.*more than 10 bytes"):
        open_image(tmp_path / "a.png")
