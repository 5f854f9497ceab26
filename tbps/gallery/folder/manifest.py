"""`gallery.json`: what a gallery consists of. A shard counts only when the manifest names it."""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal

from tbps.data.atomic_files import checksum, write_atomically
from tbps.data.strict_json import build_dataclass, parse_json
from tbps.evaluation.fingerprint import ModelIdentity
from tbps.files_tbps import read_regular
from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.checked_file import check_checksums
from tbps.gallery.store import Layout

logger = logging.getLogger(__name__)

MANIFEST_NAME = "gallery.json"
COPY_NAME = "gallery.copy.json"  # what `tbps gallery repair` goes by where the manifest is lost
FORMAT_VERSION = 3
CONVERTIBLE_VERSION = 2  # `tbps gallery repair` reads it
_LARGEST_MANIFEST = 1 << 26  # bytes: the checksums of a hundred million images and more
_MOST = 1 << 48  # of anything that is counted: products of a few such numbers stay exact
_NUMBER = "([0-9]{6}|[1-9][0-9]{6,14})"  # of a file, as `file_name` writes it
_BETWEEN_NUMBERS = re.compile(r"(?<=\d,)\n\s+(?=\d)")  # of places removed, which may be many
_FILE_NAME = re.compile(rf"shard-{_NUMBER}\.arrow|index-{_NUMBER}\.faiss")


@dataclass(frozen=True)
class ShardEntry:
    """One file of rows: its name in the gallery's folder, its rows, its bytes, the checksums of its blocks, and the
    places of rows that were removed and are still in the file."""

    file: str
    rows: int
    size: int
    checksums: str
    removed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_number("the number of a shard", file_number(self.file, "shard"), 0)
        check_number(f"rows of {self.file}", self.rows, 1)
        check_number(f"bytes of {self.file}", self.size, 1)
        check_checksums(self.file, self.size, self.checksums)
        if self.removed and not (self.removed[0] >= 0 and self.removed[-1] < self.rows and _ascending(self.removed)):
            raise ValueError(f"the removed places of {self.file} are not ascending and within its {self.rows} rows")

    @property
    def kept(self) -> int:
        """The number of rows that were not removed."""
        return self.rows - len(self.removed)


@dataclass(frozen=True)
class IndexEntry:
    """
    The file of an approximate index: its name, the number of rows that it is of (the first ones), its lists, its bytes.

    `held` rows are in it, those whose length is near `length`, the median, and that were not removed when it was made.
    `probes` lists are read by a search: the fewest that find the share `target_recall` of the ten best rows, or all.
    They found the share `recall` for `queries` altered vectors of the gallery when it was made.
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
        check_number("the number of an index", file_number(self.file, "index"), 0)
        check_number(f"rows of {self.file}", self.rows, 1)
        check_number(f"rows in {self.file}", self.held, 1, self.rows)
        check_number(f"lists of {self.file}", self.lists, 1, self.held)
        check_number(f"probes of {self.file}", self.probes, 1, self.lists)
        check_number(f"queries of {self.file}", self.queries, 1)
        for what, value in (("target_recall", self.target_recall), ("recall", self.recall)):
            if not 0 <= value <= 1:
                raise ValueError(f"{what} of {self.file}: {value} is not between 0 and 1")
        if not 0 <= self.length < float("inf"):
            raise ValueError(f"length of {self.file}: {self.length} is no length")
        check_number(f"bytes of {self.file}", self.size, 1)
        check_checksums(self.file, self.size, self.checksums)


@dataclass(frozen=True)
class Origin:
    """What is so of all of a gallery's files. Each carries it, so that a lost manifest can be made again."""

    model: ModelIdentity
    layout: Layout
    tbps_version: str
    format_version: int


@dataclass(frozen=True)
class Manifest:
    """The gallery's model, the layout of its vectors, its shards in order of insertion, and its index, if it has one.

    `tbps_version` is that of its creation. `next_file` numbers files, none of which is ever written twice: whoever
    has the gallery open goes on reading the files that were there then.
    """

    model: ModelIdentity
    layout: Layout
    tbps_version: str
    format_version: int = FORMAT_VERSION
    next_file: int = 0
    shards: tuple[ShardEntry, ...] = ()
    index: IndexEntry | None = None

    def __post_init__(self) -> None:
        check_number("next_file", self.next_file, 0)
        if self.layout.width != self.model.embedding_dim:
            raise ValueError(f"the vectors of {self.layout} have not {self.model.embedding_dim} numbers")
        numbers = [file_number(shard.file, "shard") for shard in self.shards]
        if not _ascending(numbers):  # each name once, and in the order in which rows were added
            raise ValueError("the shards are not in ascending order of their numbers")
        if self.index is not None:
            numbers.append(file_number(self.index.file, "index"))
            if self.index.rows not in accumulate(shard.rows for shard in self.shards):
                raise ValueError(f"the {self.index.rows} rows of the index are not those of the first shards")
        if len(set(numbers)) < len(numbers) or max(numbers, default=-1) >= self.next_file:
            raise ValueError(f"a number of a file is used twice, or is not below next_file={self.next_file}")

    @property
    def origin(self) -> Origin:
        """What its files carry."""
        return Origin(self.model, self.layout, self.tbps_version, self.format_version)

    @property
    def rows(self) -> int:
        """The number of rows that were not removed."""
        return sum(shard.kept for shard in self.shards)

    @property
    def indexed(self) -> int:
        """The number of shards, the first ones, whose rows the index names by their places."""
        rows = 0 if self.index is None else self.index.rows
        return sum(end <= rows for end in accumulate(shard.rows for shard in self.shards))

    @property
    def left_of_indexed(self) -> int:
        """The number of rows in those shards that were not removed."""
        return sum(shard.kept for shard in self.shards[: self.indexed])

    def without_empty(self) -> "Manifest":
        """The manifest without shards of which all rows were removed, but for those that the index covers."""
        fixed = self.indexed
        left = tuple(shard for place, shard in enumerate(self.shards) if shard.kept or place < fixed)
        return replace(self, shards=left)

    def next_name(self, kind: Literal["shard", "index"] = "shard") -> str:
        """The name of the next file. One left by a killed `append` may have it already; it is of no use and is
        replaced."""
        return file_name(self.next_file, kind)

    def with_shard(self, shard: ShardEntry) -> "Manifest":
        """The manifest after one more commit."""
        return replace(self, shards=(*self.shards, shard), next_file=self.next_file + 1)

    def with_index(self, index: IndexEntry) -> "Manifest":
        """The manifest with a new index."""
        return replace(self, index=index, next_file=self.next_file + 1)

    def reserving(self, count: int) -> "Manifest":
        """The manifest to commit before several files are written: whatever becomes of them, their numbers are past,
        so that what a killed writer leaves is known as such."""
        return replace(self, next_file=self.next_file + count)

    def files(self) -> set[str]:
        """The names of all files."""
        return {entry.file for entry in (*self.shards, self.index) if entry is not None}

    def is_past(self, name: str) -> bool:
        """Whether a file was replaced, or left by a writer that was killed. A file of a number still to come is not:
        it may have been written after a copy of the manifest was made that somebody has put back."""
        found = _FILE_NAME.fullmatch(name)
        return found is not None and name not in self.files() and int(found[1] or found[2]) < self.next_file

    def write(self, directory: Path) -> None:
        """Replace the gallery's manifest in one step, and afterwards its copy."""
        content = {**asdict(self), "rows": self.rows}
        content["checksum"] = _checksum(content)
        data = _BETWEEN_NUMBERS.sub("", json.dumps(content, indent=1)).encode()
        if len(data) > _LARGEST_MANIFEST:
            raise GalleryError(
                f"{directory / MANIFEST_NAME} would have more than {_LARGEST_MANIFEST} bytes: `tbps gallery compact "
                f"{directory}` erases what was removed, or keep the images in several galleries."
            )
        try:
            write_atomically(directory / MANIFEST_NAME, data)
        except OSError:
            if not (directory / COPY_NAME).is_file():
                raise
            (directory / COPY_NAME).unlink()  # on a full disk that is the room needed, so that rows can be removed
            write_atomically(directory / MANIFEST_NAME, data)
        try:  # while one of the two is written, or is lost, the other one is whole
            write_atomically(directory / COPY_NAME, data, durable=False)
        except OSError as error:
            logger.warning("%s could not be written: %s.", directory / COPY_NAME, error.strerror)

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """
        The manifest of an existing gallery.

        Raises:
            GalleryError: it is no manifest, damaged, or of a format that this version does not read.
        """
        path = directory / MANIFEST_NAME
        try:
            return manifest_of(read_manifest(path))
        except OtherFormatError as error:
            raise GalleryError(f"{path} {error}") from None
        except OSError as error:
            raise GalleryError(f"{path} cannot be read ({error.strerror}).") from error
        except ValueError as error:
            raise GalleryError(
                f"{path} is damaged ({error}): `tbps gallery repair {directory}` makes it again from its copy or from "
                "the shards."
            ) from error


class OtherFormatError(Exception):
    """Not damage: another version wrote it."""


def read_manifest(path: Path) -> dict[str, Any]:
    """
    The content of a manifest's file of any format, without its checksum, which has been compared.

    Raises:
        OSError: it cannot be read. ValueError: it is not as it was written, or no manifest.
    """
    content = parse_json(read_regular(path, _LARGEST_MANIFEST))
    if not isinstance(content, dict) or type(content.get("format_version")) is not int:
        raise ValueError("it is no manifest")
    known = content["format_version"] in (CONVERTIBLE_VERSION, FORMAT_VERSION)
    if known and _checksum(content) != content.pop("checksum", None):
        raise ValueError("its checksum is not that of its content")
    return content


def manifest_of(content: Mapping[str, Any]) -> Manifest:
    """
    The manifest that a content describes.

    Raises:
        OtherFormatError: it has another format. ValueError: it is none of this format.
    """
    version = content["format_version"]
    if version != FORMAT_VERSION:
        raise OtherFormatError(
            f"has format {version}, written by tbps {str(content.get('tbps_version'))[:40]}; this tbps reads format "
            f"{FORMAT_VERSION}: {_advice(version)}."
        )
    values = dict(content)
    rows = values.pop("rows", None)
    manifest = build_dataclass(Manifest, values, "the manifest")
    if rows != manifest.rows or type(rows) is not int:
        raise ValueError(f"it has {manifest.rows} rows and says {rows!r:.80}")
    return manifest


def _advice(version: int) -> str:
    if version == CONVERTIBLE_VERSION:
        return "`tbps gallery repair FOLDER` converts it, without encoding an image"
    return "upgrade tbps" if version > FORMAT_VERSION else "add the images again to a gallery in a new folder"


def _checksum(content: Mapping[str, Any]) -> str:
    """Of all but the checksum itself, whatever the spacing."""
    rest = {name: value for name, value in content.items() if name != "checksum"}
    try:
        return checksum(json.dumps(rest, sort_keys=True).encode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def file_number(name: str, kind: Literal["shard", "index"]) -> int:
    """
    The number in the name of a file; only such names are ever opened, so none lies outside the folder.

    Raises:
        ValueError: it is no name of this kind of file.
    """
    found = _FILE_NAME.fullmatch(name)
    number = -1 if found is None or not name.startswith(kind) else int(found[1] or found[2])
    if number < 0 or name != file_name(number, kind):
        raise ValueError(f"{name!r:.80} is no name of {'a shard' if kind == 'shard' else 'an index'}")
    return number


def is_file_name(name: str) -> bool:
    """Whether a gallery names shards or indexes so."""
    return _FILE_NAME.fullmatch(name) is not None


def file_name(number: int, kind: Literal["shard", "index"]) -> str:
    """The name of the file of that number."""
    return f"{kind}-{number:06d}.{'arrow' if kind == 'shard' else 'faiss'}"


def check_number(what: str, value: int, least: int, most: int = _MOST) -> None:
    """Refuse what is out of range."""
    if not least <= value <= most:
        raise ValueError(f"{what}: {value} is not between {least} and {most}")


def _ascending(numbers: Sequence[int]) -> bool:
    return all(before < after for before, after in pairwise(numbers))
