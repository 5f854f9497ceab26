"""What a report shows: sentences and the images found for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

from tbps.data.images import BadImageError, ImageSource, open_image


class RankedHit(Protocol):
    """An image found; the gallery's `Hit` is one."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def score(self) -> float:
        """The higher, the better it fits."""

    @property
    def path(self) -> str | None:
        """The name of its file, if it is one; it is shown as text and never opened."""

    def load_image(self) -> tuple[Image.Image | None, str]:
        """The picture to show, RGB, if there is one that may be opened, and a remark on it or on why there is none."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What else is known of it."""


@dataclass(frozen=True)
class RankedImage:
    """A `RankedHit` of one's own making, for results that come from no gallery."""

    score: float
    path: str | None = None
    image: ImageSource | None = None
    id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def load_image(self) -> tuple[Image.Image | None, str]:
        """`image`, opened; without a picture where it cannot be read: the rest of the report still holds."""
        try:
            return (None, "no picture") if self.image is None else (open_image(self.image), "")
        except BadImageError:
            return None, "no picture"


@dataclass(frozen=True)
class QueryResult:
    """
    A sentence and its hits, best first.

    Args:
        query: the sentence.
        hits: the images found.
        relevant: for each hit, whether it shows the right person; None where that is not known.
        note: a remark to stand under the sentence.

    Raises:
        ValueError: another number of `relevant` than of hits.
    """

    query: str
    hits: Sequence[RankedHit]
    relevant: Sequence[bool] | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if self.relevant is not None and len(self.relevant) != len(self.hits):
            raise ValueError(
                f"Got {len(self.relevant)} relevant flags for {len(self.hits)} hits: expected one for each, or None."
            )

    def marks(self) -> Sequence[bool | None]:
        """For each hit True (right), False (wrong) or None (not known)."""
        return [None] * len(self.hits) if self.relevant is None else self.relevant
