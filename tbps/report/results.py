"""Search results to report: queries and their hits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

from tbps.data.images import BadImageError, ImageSource, open_image


class RankedHit(Protocol):
    """An image in search results. The `Hit` of a gallery implements this protocol."""

    @property
    def id(self) -> str:
        """The id of the image."""

    @property
    def score(self) -> float:
        """The similarity to the query; higher is better."""

    @property
    def path(self) -> str | None:
        """The path of the image file, if it has one. It is shown as text and never opened."""

    def load_image(self) -> tuple[Image.Image | None, str]:
        """The RGB image to show, or None, and a remark on its state, such as why there is none."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Further information about the image."""


@dataclass(frozen=True)
class RankedImage:
    """A `RankedHit` for results that do not come from a gallery."""

    score: float
    path: str | None = None
    image: ImageSource | None = None
    id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def load_image(self) -> tuple[Image.Image | None, str]:
        """Open `image`. An image that cannot be read becomes None, so that the rest of the report is still shown."""
        try:
            return (None, "no image") if self.image is None else (open_image(self.image), "")
        except BadImageError:
            return None, "no image"


@dataclass(frozen=True)
class QueryResult:
    """A query and its hits, best first.

    Args:
        query: The text of the query.
        hits: The hits, best first.
        relevant: For each hit, whether it shows the right person; None if unknown.
        note: A note to show below the query.

    Raises:
        ValueError: `relevant` and `hits` differ in length.
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
        """For each hit: True (right), False (wrong) or None (unknown)."""
        return [None] * len(self.hits) if self.relevant is None else self.relevant
