"""What became of the images that were to be added."""

from dataclasses import dataclass, field


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
