"""What users have (a folder, paths, pictures, a dataset) as items to be encoded one after the other."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from tbps.data.images import BadImageError, ImageFolder, ImageSource, find_images, shown
from tbps.data.paths import local_path, name_as_text
from tbps.gallery.checks import is_text
from tbps.gallery.crops import check_box_fits
from tbps.gallery.metadata import checked, make_row
from tbps.gallery.results import Skipped
from tbps.gallery.store import Row
from tbps.gallery.stored_image import content_id, open_content

if TYPE_CHECKING:
    from datasets import Dataset

# sentences that come with an image describe it for training; they are not facts about it
_CAPTION_COLUMNS = frozenset({"caption", "captions", "text", "texts", "sentence", "sentences", "description"})


@dataclass(frozen=True)
class Opened:
    """A picture, RGB, and the row of it: under the id of the bytes that were read."""

    row: Row
    picture: Image.Image


@dataclass(frozen=True)
class Item:
    """An image not yet opened, and what is to be kept of it; `name` is what an error calls it, as text.

    `source` gives the image each time that it is asked for, so that thousands of items hold none of them.
    """

    row: Row
    source: Callable[[], ImageSource]
    name: str
    box: Sequence[float] | None = None

    def open(self) -> Opened:
        """
        The picture as it is now. Where it has changed since the item was made, its row has the id of what is there.

        Raises:
            BadImageError: it cannot be read, its file's name cannot be stored, or its box is none of this image; the
                message names it.
        """
        path = self.row.path
        if path is not None and not is_text(path):
            raise BadImageError(f"{self.name}: this name is not UTF-8 and cannot be stored. Rename the file.")
        try:
            id, picture = open_content(self.source(), self.name)
        except BadImageError as error:
            raise BadImageError(str(error) if path else f"{self.name}: {error}") from error
        check_box_fits(self.name, self.box, picture.size)
        return Opened(replace(self.row, id=id), picture)


def expand_folder(images: Any) -> tuple[Any, list[Skipped]]:
    """A folder as its files, and what cannot be opened of it; anything else as it is.

    Raises:
        FileNotFoundError, BadImageError: as `find_images`. ValueError: a blank path, or an address that is no file's.
    """
    if isinstance(images, str | Path):
        place = local_path(images)
        images = place if place.is_file() else find_images(place)
    if not isinstance(images, ImageFolder):
        return images, []
    return images.paths, [Skipped(name, reason) for name, reason in images.left_out]


def read_items(images: Any, metadata: Sequence[Mapping[str, Any]] | None) -> tuple[int, Iterator[Item]]:
    """
    The number of images and, lazily, the items.

    Args:
        images: an image file, a picture, a sequence of files and pictures, or a `datasets.Dataset` with a
            column `image`.
        metadata: one dict for each image, of what JSON can hold; laid over what a dataset says.

    Raises:
        TypeError: images of another kind, or metadata that JSON cannot hold.
        ValueError: another number of dicts than of images, or a dataset without images.
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
        return [images]
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
    pictures = dataset.select_columns("image")

    def make(position: int, metadata: dict[str, Any]) -> Item:
        row = dataset[position]
        cell = row.pop("image") or {}
        source = cell.get("bytes") or cell.get("path") or b""
        again = partial(_cell, pictures, position) if isinstance(source, bytes) else None
        return _item(source, f"row {position} of the dataset", {**_facts(row, position), **metadata}, again)

    return make


def _facts(row: Mapping[str, Any], position: int) -> dict[str, Any]:
    """What a dataset's row says of its image; captions and what is None are left out."""
    said = {name: value for name, value in row.items() if value is not None and name.lower() not in _CAPTION_COLUMNS}
    return checked(f"row {position} of the dataset", said)


def _cell(pictures: "Dataset", position: int) -> bytes:
    """The bytes in a dataset's row, read again."""
    return bytes(pictures[position]["image"]["bytes"] or b"")


def _item(
    source: ImageSource, name: str, metadata: dict[str, Any], again: Callable[[], ImageSource] | None = None
) -> Item:
    """`name` is what an image that is no file is called; `again` gives the source where it should not be held."""
    path = name_as_text(os.path.abspath(source)) if isinstance(source, str | Path) else None
    id = content_id(source) if path is None or is_text(path) else None
    # what has no content, or no name, is never stored: opening it fails where bad images are dealt with
    row = make_row(id or name, path, metadata)
    return Item(row, again or (lambda: source), shown(path) if path else name, metadata.get("box"))


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
