"""What a search gives: images found, each with what its parts contribute, and a picture where one may be shown.

What became of the images that were to be added.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image

from tbps.data.images import BadImageError, open_image
from tbps.gallery.metadata import metadata_of
from tbps.gallery.store import Layout, StoredHit
from tbps.gallery.stored_image import FileState, StoredImage


@dataclass(frozen=True)
class Skipped:
    """An image that could not be added: its file or its place among the images, as text, and the reason, which names
    it too."""

    name: str
    reason: str


@dataclass
class AddResult:
    """
    What `Gallery.add` did with each image.

    `added` are the ids of the new ones, in order; `updated` the ids of those whose path, metadata or thumbnail changed,
    with `update`; `unchanged` is the number of those that were in the gallery already, or came twice; `skipped` are
    those that could not be added, with `skip_bad`, and what a folder holds of images in formats that cannot be opened.
    `not_crops` are names of those added that are not shaped like the crop of a person; `moved` the ids of those that
    are in the gallery under the path of a file that is gone, and whose path here `update` would take up.
    """

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    not_crops: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)


_GIVEN = "_image"


class _ImageField:
    """The field `image`: of a gallery's hits it is found when it is asked for, as that reads the file."""

    @overload
    def __get__(self, hit: None, owner: type) -> None: ...
    @overload
    def __get__(self, hit: "Hit", owner: type) -> Path | bytes | None: ...
    def __get__(self, hit: "Hit | None", owner: type) -> Path | bytes | None:
        given = None if hit is None else vars(hit)[_GIVEN]  # of the class: the field's default
        return given.shown() if isinstance(given, StoredImage) else given

    def __set__(self, hit: "Hit", given: "Path | bytes | StoredImage | _ImageField | None") -> None:
        # the field's default, where no image is given, is this descriptor
        vars(hit)[_GIVEN] = None if isinstance(given, _ImageField) else given


@dataclass(frozen=True)
class Hit:
    """An image found.

    `score` is the inner product of the retrieval vectors; `parts` (K + 1,) are what the global embedding and each part
    contribute to it, they sum to the score. `path` is the file as it was added, None where it is none: text from the
    gallery, not to be opened unchecked. `image` may be shown: the path, if it is within the roots given to
    `Gallery.open` and the file there is still the one that was added, else the thumbnail, if one was kept, else None.
    It is looked for each time that it is asked for.
    """

    id: str
    score: float
    path: str | None
    metadata: dict[str, Any]
    parts: tuple[float, ...] = ()
    image: _ImageField = field(default=_ImageField(), repr=False)

    @property
    def file_state(self) -> FileState | None:
        """Whether the file at `path` is still the image that was added: "unchanged", "changed", "gone", "unreadable";
        None where it is outside of the roots, or no file was added."""
        given = vars(self)[_GIVEN]
        return given.file_state() if isinstance(given, StoredImage) else None

    def load_image(self) -> tuple[Image.Image | None, str]:
        """The picture to show, RGB, and a remark where there is none or where the file is no longer that image."""
        given = vars(self)[_GIVEN]
        if isinstance(given, StoredImage):
            return given.load_image()
        try:
            return (None, "no image") if given is None else (open_image(given), "")
        except BadImageError:
            return None, "no image"


def make_hit(found: StoredHit, query: np.ndarray, layout: Layout, roots: Sequence[Path]) -> Hit:
    """The hit of a row found for a query (E,)."""
    row = found.row
    products = np.multiply(query, found.vector, dtype=np.float64)
    parts = (products[: layout.prefix_dim].sum(), *products[layout.prefix_dim :].reshape(layout.num_parts, -1).sum(1))
    image = StoredImage(row.id, row.path, row.thumbnail, roots)
    return Hit(row.id, found.score, row.path, metadata_of(row), tuple(map(float, parts)), image)
