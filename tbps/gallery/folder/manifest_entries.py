"""The records of a manifest: one for each file of rows, one for the index, and one for the gallery itself."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery.folder.checked_file import check_checksums
from tbps.gallery.store import Layout

Kind = Literal["shard", "index"]
_MAX_COUNT = 1 << 48  # products of a few such counts stay exact
_NUMBER = "([0-9]{6}|[1-9][0-9]{6,14})"  # in a file name, as `file_name` writes it
_FILE_NAME = re.compile(rf"shard-{_NUMBER}\.arrow|index-{_NUMBER}\.faiss")


@dataclass(frozen=True)
class ShardEntry:
    """
    A file of rows.

    Args:
        file: its name in the gallery's folder.
        rows: the number of rows, removed ones included.
        size: bytes.
        checksums: see `block_checksums`.
        removed: the ascending positions of rows that were removed but are still in the file.

    Raises:
        ValueError: a field is out of range.
    """

    file: str
    rows: int
    size: int
    checksums: str
    removed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_count("the number of a shard", file_number(self.file, "shard"), 0)
        check_count(f"rows of {self.file}", self.rows, 1)
        check_count(f"bytes of {self.file}", self.size, 1)
        check_checksums(self.file, self.size, self.checksums)
        if self.removed and not (self.removed[0] >= 0 and self.removed[-1] < self.rows and ascending(self.removed)):
            raise ValueError(f"the removed positions of {self.file} must ascend within its {self.rows} rows")

    @property
    def live(self) -> int:
        """The number of rows that were not removed."""
        return self.rows - len(self.removed)


@dataclass(frozen=True)
class IndexEntry:
    """
    The file of an approximate index.

    Args:
        file: its name in the gallery's folder.
        rows: the number of rows that the index covers, counted from the first.
        lists: the number of inverted lists.
        size: bytes.
        checksums: see `block_checksums`.
        held: the number of rows in the lists: those of about median length that had not been removed at the time.
        probes: the number of lists that a search reads: the fewest that reach `target_recall`, or all.
        target_recall: the recall@10 that was asked for.
        recall: the recall@10 that `probes` lists reached when the index was built.
        queries: the number of altered gallery vectors that the recall was measured with.
        length: the median length of the vectors.

    Raises:
        ValueError: a field is out of range.
    """

    file: str
    rows: int
    lists: int
    size: int
    checksums: str
    held: int
    probes: int
    target_recall: float
    recall: float
    queries: int
    length: float

    def __post_init__(self) -> None:
        check_count("the number of an index", file_number(self.file, "index"), 0)
        check_count(f"rows of {self.file}", self.rows, 1)
        check_count(f"rows in {self.file}", self.held, 1, self.rows)
        check_count(f"lists of {self.file}", self.lists, 1, self.held)
        check_count(f"probes of {self.file}", self.probes, 1, self.lists)
        check_count(f"queries of {self.file}", self.queries, 1)
        for name, value in (("target_recall", self.target_recall), ("recall", self.recall)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} of {self.file} must be between 0 and 1, got {value}")
        if not 0 <= self.length < float("inf"):
            raise ValueError(f"length of {self.file} must be finite and at least 0, got {self.length}")
        check_count(f"bytes of {self.file}", self.size, 1)
        check_checksums(self.file, self.size, self.checksums)


@dataclass(frozen=True)
class Origin:
    """What every file of a gallery has in common. Each shard carries it, so that a lost manifest can be rebuilt."""

    model: ModelIdentity
    layout: Layout
    tbps_version: str
    format_version: int


def file_name(number: int, kind: Kind) -> str:
    """Return the name of the file with a number."""
    return f"{kind}-{number:06d}.{'arrow' if kind == 'shard' else 'faiss'}"


def file_number(name: str, kind: Kind) -> int:
    """
    Parse the number in a file name. Only such names are ever opened, so none lies outside the folder.

    Raises:
        ValueError: it is not the name of this kind of file.
    """
    found = parsed_number(name)
    if found is None or name != file_name(found, kind):
        raise ValueError(f"{name!r:.80} is not a file name of {'a shard' if kind == 'shard' else 'an index'}")
    return found


def parsed_number(name: str) -> int | None:
    """Return the number in the name of a shard or an index; None for any other name."""
    found = _FILE_NAME.fullmatch(name)
    return None if found is None else int(found[1] or found[2])


def check_count(name: str, value: int, least: int, most: int = _MAX_COUNT) -> None:
    """Refuse a number that is out of range."""
    if not least <= value <= most:
        raise ValueError(f"{name} must be between {least} and {most}, got {value}")


def ascending(numbers: Sequence[int]) -> bool:
    """Whether each number is larger than the one before."""
    return all(before < after for before, after in pairwise(numbers))
