"""Turn what users give (a folder, paths, images, a dataset) into items to encode one by one."""

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

# captions describe an image for training; they are not metadata
_CAPTION_COLUMNS = frozenset({"caption", "captions", "text", "texts", "sentence", "sentences", "description"})


@dataclass(frozen=True)
class Opened:
    """An image, RGB, and its row, whose id is the hash of the bytes that were read."""

    row: Row
    image: Image.Image


@dataclass(frozen=True)
class Item:
    """
    An image that is not opened yet.

    Args:
        row: the row to store.
        source: returns the image each time it is called, so that thousands of items hold no image in memory.
        name: the name of the image in error messages.
        box: the box in its metadata, if it has one.
    """

    row: Row
    source: Callable[[], ImageSource]
    name: str
    box: Sequence[float] | None = None

    def open(self) -> Opened:
        """
        Open the image. If its file has changed since the item was made, the row has the id of the new content.

        Raises:
            BadImageError: the image cannot be read, its file name cannot be stored, or its box does not match it; the
                message names the image.
        """
        path = self.row.path
        if path is not None and not is_text(path):
            raise BadImageError(f"{self.name}: this name is not UTF-8 and cannot be stored. Rename the file.")
        try:
            id, image = open_content(self.source(), self.name)
        except BadImageError as error:
            raise BadImageError(str(error) if path else f"{self.name}: {error}") from error
        check_box_fits(self.name, self.box, image.size)
        return Opened(replace(self.row, id=id), image)


def expand_folder(images: Any) -> tuple[Any, list[Skipped]]:
    """
    List the files of a folder; leave anything else as it is.

    Returns:
        The files, and those that cannot be opened.

    Raises:
        FileNotFoundError, BadImageError: as `find_images`.
        ValueError: a blank path, or an address that is not that of a file.
    """
    if isinstance(images, str | Path):
        place = local_path(images)
        images = place if place.is_file() else find_images(place)
    if not isinstance(images, ImageFolder):
        return images, []
    return images.paths, [Skipped(name, reason) for name, reason in images.left_out]


def read_items(images: Any, metadata: Sequence[Mapping[str, Any]] | None) -> tuple[int, Iterator[Item]]:
    """
    Count the images, and iterate over their items lazily.

    Args:
        images: an image file, an image, a sequence of files and images, or a `datasets.Dataset` with a column `image`.
        metadata: one dict of JSON values for each image. They override the columns of a dataset.

    Raises:
        TypeError: images of another type, or metadata that JSON cannot hold.
        ValueError: the numbers of dicts and images differ, or a dataset without images.
    """
    if _is_dataset(images):
        count, make = len(images), _dataset_maker(images)
    else:
        listed = _as_list(images)
        count, make = len(listed), _list_maker(listed)
    extra = _checked_metadata(metadata, count)
    return count, (make(position, extra(position)) for position in range(count))


def _is_dataset(images: Any) -> bool:
    """Whether the images are a `datasets.Dataset`. Importing `datasets` takes a second, and a caller who has one has
    imported it."""
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
    """Check every element before the first is encoded."""
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
    image_column = dataset.select_columns("image")

    def make(position: int, metadata: dict[str, Any]) -> Item:
        row = dataset[position]
        cell = row.pop("image") or {}
        source = cell.get("bytes") or cell.get("path") or b""
        again = partial(_cell, image_column, position) if isinstance(source, bytes) else None
        return _item(source, f"row {position} of the dataset", {**_facts(row, position), **metadata}, again)

    return make


def _facts(row: Mapping[str, Any], position: int) -> dict[str, Any]:
    """Return the metadata of a dataset's row, without captions and None."""
    facts = {name: value for name, value in row.items() if value is not None and name.lower() not in _CAPTION_COLUMNS}
    return checked(f"row {position} of the dataset", facts)


def _cell(image_column: "Dataset", position: int) -> bytes:
    """Read the bytes of a dataset's row again."""
    return bytes(image_column[position]["image"]["bytes"] or b"")


def _item(
    source: ImageSource, name: str, metadata: dict[str, Any], again: Callable[[], ImageSource] | None = None
) -> Item:
    """
    Make the item of an image.

    Args:
        name: the name, in error messages, of an image that is not a file.
        again: reads the source again if it should not stay in memory.
    """
    path = name_as_text(os.path.abspath(source)) if isinstance(source, str | Path) else None
    id = content_id(source) if path is None or is_text(path) else None
    # without content or a valid name, it is never stored: opening it fails where bad images are handled
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
