"""What users have (a folder, paths, pictures, a dataset) as items to be encoded one after the other."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from tbps.data.images import BadImageError, ImageSource, list_images, open_image, shown
from tbps.gallery.checks import is_text
from tbps.gallery.home import Row
from tbps.gallery.metadata import checked
from tbps.gallery.rows import make_row

if TYPE_CHECKING:
    from datasets import Dataset

# sentences that come with an image describe it for training; they are not facts about it
_CAPTION_COLUMNS = frozenset({"caption", "captions", "text", "texts", "sentence", "sentences", "description"})


@dataclass(frozen=True)
class Item:
    """An image not yet opened, and what is to be kept of it; `name` is what an error calls it, as text."""

    row: Row
    source: ImageSource
    name: str

    def open(self) -> Image.Image:
        """
        The picture, RGB.

        Raises:
            BadImageError: it cannot be read, or its file's name cannot be stored; the message names it.
        """
        path = self.row.path
        if path is not None and not is_text(path):
            raise BadImageError(f"{self.name}: this name is not UTF-8 and cannot be stored. Rename the file.")
        try:
            return open_image(self.source)
        except BadImageError as error:
            raise BadImageError(str(error) if path else f"{self.name}: {error}") from error


def read_items(images: Any, metadata: Sequence[Mapping[str, Any]] | None) -> tuple[int, Iterator[Item]]:
    """
    The number of images and, lazily, the items.

    Args:
        images: a folder, an image file, a picture, a sequence of files and pictures, or a `datasets.Dataset` with a
            column `image`.
        metadata: one dict for each image, of what JSON can hold; laid over what a dataset says.

    Raises:
        TypeError: images of another kind, or metadata that JSON cannot hold.
        ValueError: another number of dicts than of images, or a dataset without images.
        FileNotFoundError: a folder that is not there.
    """
    if _is_dataset(images):
        count, make = len(images), _dataset_maker(images)
    else:
        listed = _as_list(images)
        count, make = len(listed), _list_maker(listed)
    extra = _checked_metadata(metadata, count)
    return count, (make(position, extra(position)) for position in range(count))


def _is_dataset(images: Any) -> bool:
    """Whoever has one has imported `datasets`, which takes a second: a search should not."""
    return "datasets" in sys.modules and isinstance(images, sys.modules["datasets"].Dataset)


def _as_list(images: Any) -> list[Any]:
    if isinstance(images, str | Path):
        return [images] if Path(images).is_file() else list(list_images(images))
    if isinstance(images, Image.Image):
        return [images]
    if not isinstance(images, Sequence):
        hint = " (choose a split of it)" if isinstance(images, Mapping) else ""
        raise TypeError(
            f"Cannot add a {type(images).__name__}{hint}: expected a folder, a list of files or PIL images, or a "
            "datasets.Dataset with a column 'image'."
        )
    return list(images)


def _list_maker(images: list[Any]) -> Callable[[int, dict[str, Any]], Item]:
    """Checks every element before the first is encoded."""
    for position, image in enumerate(images):
        if not isinstance(image, str | Path | Image.Image):
            raise TypeError(f"Image {position} is a {type(image).__name__}: expected a path or a PIL image.")

    def make(position: int, metadata: dict[str, Any]) -> Item:
        return _item(images[position], f"image {position} of the list", metadata)

    return make


def _dataset_maker(dataset: "Dataset") -> Callable[[int, dict[str, Any]], Item]:
    from datasets import Image as ImageColumn

    if "image" not in dataset.column_names:
        raise ValueError(f"The dataset has the columns {dataset.column_names}: expected one called 'image'; rename it.")
    # undecoded, so that a bad image is an error of ours, and one already known is never decoded
    dataset = dataset.cast_column("image", ImageColumn(decode=False))

    def make(position: int, metadata: dict[str, Any]) -> Item:
        row = dataset[position]
        cell = row.pop("image") or {}
        source = cell.get("bytes") or cell.get("path") or b""
        return _item(source, f"row {position} of the dataset", {**_facts(row, position), **metadata})

    return make


def _facts(row: Mapping[str, Any], position: int) -> dict[str, Any]:
    """What a dataset's row says of its image; captions and what is None are left out."""
    said = {name: value for name, value in row.items() if value is not None and name.lower() not in _CAPTION_COLUMNS}
    return checked(f"row {position} of the dataset", said)


def _item(source: ImageSource, name: str, metadata: dict[str, Any]) -> Item:
    """`name` is what an image that is no file is called."""
    path = os.path.abspath(source) if isinstance(source, str | Path) else None
    id = _content_id(source) if path is None or is_text(path) else None
    # what has no content, or no name, is never stored: opening it fails where bad images are dealt with
    return Item(make_row(id or name, path, metadata), source, shown(path) if path else name)


def _content_id(source: ImageSource) -> str | None:
    """The same content gets the same id in every run and under every name, so that adding again skips it."""
    content = source if isinstance(source, bytes) else b""
    if isinstance(source, str | Path):
        with suppress(OSError, ValueError):  # ValueError: a NUL in the path
            content = Path(source).read_bytes()
    if isinstance(source, Image.Image):
        with suppress(BadImageError):
            picture = open_image(source)
            content = f"{picture.size}".encode() + picture.tobytes()
    return hashlib.blake2b(content, digest_size=16).hexdigest() if content else None


def _checked_metadata(metadata: Sequence[Mapping[str, Any]] | None, count: int) -> Callable[[int], dict[str, Any]]:
    if metadata is None:
        return lambda position: {}
    if not isinstance(metadata, Sequence) or isinstance(metadata, str):
        raise TypeError(f"metadata is a {type(metadata).__name__}: expected a list with one dict for each image.")
    if len(metadata) != count:
        raise ValueError(f"Got {len(metadata)} metadata dicts for {count} images: expected one for each image.")

    def entry(position: int) -> dict[str, Any]:
        return checked(f"metadata[{position}]", metadata[position])

    for position in range(count):  # all of them before the first image is encoded
        entry(position)
    return entry
