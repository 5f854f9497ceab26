"""What a gallery returns: hits, the outcome of adding and updating images, and facts about the gallery."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image

from tbps.data.images import BadImageError, open_image
from tbps.gallery.metadata import metadata_of
from tbps.gallery.store import FileInfo, Layout, StoredHit
from tbps.gallery.stored_image import FileState, StoredImage


@dataclass(frozen=True)
class Skipped:
    """
    An image that could not be added.

    Args:
        name: its file, or its place among the images, as text.
        reason: why; it names the image too.
    """

    name: str
    reason: str


@dataclass
class AddResult:
    """
    The outcome of `Gallery.add`.

    Args:
        added: the ids of new images, in order.
        updated: the ids of images whose path, metadata or thumbnail changed (with `update=True`).
        unchanged: the number of images that were in the gallery already, or were given twice.
        skipped: images that could not be added (with `skip_bad=True`), and files of a folder in image formats that
            cannot be opened.
        not_crops: names of added images that are not shaped like the crop of a person.
        moved: the ids of images whose stored path no longer exists, but whose content was found at a path given now.
            `update=True` stores that path.
    """

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    not_crops: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)


@dataclass
class UpdateResult:
    """The outcome of `Gallery.update`: the ids of images that changed, and the ids that the gallery does not hold."""

    updated: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class GalleryInfo:
    """
    Facts about a gallery.

    Args:
        images: the number of images.
        model: the name of the model that made the vectors. revision: its revision on the Hub.
        fingerprint: the model's fingerprint, as stored in the gallery.
        layout: the layout of the vectors.
        files: the files of a gallery in a folder; None in Milvus.
    """

    images: int
    model: str
    revision: str | None
    fingerprint: str
    layout: Layout
    files: FileInfo | None


_GIVEN = "_image"


class _ImageField:
    """The field `image`. A gallery's hit reads the file each time that the field is read."""

    @overload
    def __get__(self, hit: None, owner: type) -> None: ...
    @overload
    def __get__(self, hit: "Hit", owner: type) -> Path | bytes | None: ...
    def __get__(self, hit: "Hit | None", owner: type) -> Path | bytes | None:
        given = None if hit is None else vars(hit)[_GIVEN]  # of the class: the field's default
        return given.shown() if isinstance(given, StoredImage) else given

    def __set__(self, hit: "Hit", given: "Path | bytes | StoredImage | _ImageField | None") -> None:
        # without an image, `given` is the field's default: this descriptor
        vars(hit)[_GIVEN] = None if isinstance(given, _ImageField) else given


@dataclass(frozen=True)
class Hit:
    """
    An image that a search found.

    Args:
        id: the image's id, a hash of its content.
        score: the inner product of the retrieval vectors of query and image.
        path: the file as it was added; None if the image was not a file. This is text from the gallery: do not open it
            unchecked.
        metadata: the image's metadata.
        parts: (K + 1,) the contributions of the global embedding and of each part to the score, which is their sum.
        image: an image that is safe to show. It is the path, if that lies below the `roots` given to `Gallery.open` and
            the file still is the image that was added; otherwise the thumbnail, if there is one; otherwise None. It is
            looked up each time.
    """

    id: str
    score: float
    path: str | None
    metadata: dict[str, Any]
    parts: tuple[float, ...] = ()
    image: _ImageField = field(default=_ImageField(), repr=False)

    @property
    def file_state(self) -> FileState | None:
        """Whether the file at `path` is still the image that was added: "unchanged", "changed", "gone" or "unreadable".
        None if it lies outside of the roots, or the image was not a file."""
        given = vars(self)[_GIVEN]
        return given.file_state() if isinstance(given, StoredImage) else None

    def load_image(self) -> tuple[Image.Image | None, str]:
        """Load the image to show, RGB, and a remark if there is none or if the file has changed."""
        given = vars(self)[_GIVEN]
        if isinstance(given, StoredImage):
            return given.load_image()
        try:
            return (None, "no image") if given is None else (open_image(given), "")
        except BadImageError:
            return None, "no image"


def make_hit(found: StoredHit, query: np.ndarray, layout: Layout, roots: Sequence[Path]) -> Hit:
    """Make the hit of a stored row for a query (E,)."""
    row = found.row
    products = np.multiply(query, found.vector, dtype=np.float64)
    parts = (products[: layout.prefix_dim].sum(), *products[layout.prefix_dim :].reshape(layout.num_parts, -1).sum(1))
    image = StoredImage(row.id, row.path, row.thumbnail, roots)
    return Hit(row.id, found.score, row.path, metadata_of(row), tuple(map(float, parts)), image)
