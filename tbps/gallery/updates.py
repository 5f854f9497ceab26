"""Other metadata for images that are in a gallery already; their vectors are kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tbps.gallery.home import Home, Row


@dataclass
class UpdateResult:
    """What an update did: the ids of those that are different now, and the ids that are not in the gallery."""

    updated: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def update_rows(home: Home, ids: Sequence[str], change: Callable[[int, Row], Row]) -> UpdateResult:
    """
    Put changed rows in the place of rows of a home that is open for writing, in one commit.

    Args:
        ids: of rows, each once; those that are not there are left out.
        change: the new row, of the place among the ids and the row that is there.
    """
    rows = home.get(ids)
    there = [(place, found) for place, found in enumerate(rows) if found is not None]
    changed = [(change(place, found.row), found.row) for place, found in there]
    new = [row for row, old in changed if row != old]
    if new:
        home.replace(new)
    unknown = [id for id, found in zip(ids, rows, strict=True) if found is None]
    return UpdateResult([row.id for row in new], unknown)
