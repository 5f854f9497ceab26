"""`gallery.json`: the list of a gallery's files. A file belongs to the gallery only if the manifest names it."""

import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from tbps.data.atomic_files import checksum, write_atomically
from tbps.data.strict_json import build_dataclass, parse_json
from tbps.evaluation.fingerprint import ModelIdentity
from tbps.files_tbps import read_regular
from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.manifest_entries import (
    IndexEntry,
    Kind,
    Origin,
    ShardEntry,
    ascending,
    check_count,
    file_name,
    file_number,
    parsed_number,
)
from tbps.gallery.store import Layout

logger = logging.getLogger(__name__)

MANIFEST_NAME = "gallery.json"
COPY_NAME = "gallery.copy.json"  # `tbps gallery repair` reads it if the manifest is lost
FORMAT_VERSION = 3
CONVERTIBLE_VERSION = 2  # `tbps gallery repair` converts it
OUTDATED = f"it is older than {COPY_NAME}: an earlier manifest was restored"
_MAX_BYTES = 1 << 26  # the checksums of more than a hundred million images
_BETWEEN_NUMBERS = re.compile(r"(?<=\d,)\n\s+(?=\d)")  # in the lists of removed positions, which may be long


@dataclass(frozen=True)
class Manifest:
    """
    The files of a gallery.

    Args:
        model: the identity of the model that made the vectors.
        layout: the layout of the vectors.
        tbps_version: the version of tbps that created the gallery.
        next_file: the number of the next file. No number is used twice, so readers can keep the files that they opened.
        shards: in order of insertion.
        index: the approximate index, if there is one.

    Raises:
        ValueError: the fields contradict each other.
    """

    model: ModelIdentity
    layout: Layout
    tbps_version: str
    format_version: int = FORMAT_VERSION
    next_file: int = 0
    shards: tuple[ShardEntry, ...] = ()
    index: IndexEntry | None = None

    def __post_init__(self) -> None:
        check_count("next_file", self.next_file, 0)
        if self.layout.width != self.model.embedding_dim:
            raise ValueError(f"{self.layout} must have vectors of {self.model.embedding_dim} numbers")
        numbers = [file_number(shard.file, "shard") for shard in self.shards]
        if not ascending(numbers):  # so each name occurs once, and the shards are in order of insertion
            raise ValueError("the numbers of the shards must ascend")
        if self.index is not None:
            numbers.append(file_number(self.index.file, "index"))
            if self.index.rows not in accumulate(shard.rows for shard in self.shards):
                raise ValueError(f"the index has {self.index.rows} rows: expected all rows of the first shards")
        if len(set(numbers)) < len(numbers) or max(numbers, default=-1) >= self.next_file:
            raise ValueError(f"the numbers of the files must differ and be below next_file={self.next_file}")

    @property
    def origin(self) -> Origin:
        """The facts that every shard carries."""
        return Origin(self.model, self.layout, self.tbps_version, self.format_version)

    @property
    def rows(self) -> int:
        """The number of rows that were not removed."""
        return sum(shard.live for shard in self.shards)

    @property
    def indexed(self) -> int:
        """The number of shards, counted from the first, that the index covers."""
        rows = 0 if self.index is None else self.index.rows
        return sum(end <= rows for end in accumulate(shard.rows for shard in self.shards))

    @property
    def live_indexed(self) -> int:
        """The number of rows in those shards that were not removed."""
        return sum(shard.live for shard in self.shards[: self.indexed])

    def without_empty(self) -> "Manifest":
        """Drop shards whose rows were all removed, except those that the index covers."""
        fixed = self.indexed
        left = tuple(shard for position, shard in enumerate(self.shards) if shard.live or position < fixed)
        return replace(self, shards=left)

    def next_name(self, kind: Kind = "shard") -> str:
        """The name of the next file. If a killed writer left a file of this name, it is overwritten."""
        return file_name(self.next_file, kind)

    def with_shard(self, shard: ShardEntry) -> "Manifest":
        """Add a shard."""
        return replace(self, shards=(*self.shards, shard), next_file=self.next_file + 1)

    def with_index(self, index: IndexEntry) -> "Manifest":
        """Set the index."""
        return replace(self, index=index, next_file=self.next_file + 1)

    def reserving(self, count: int) -> "Manifest":
        """Skip some file numbers. Commit this before several files are written: files that a killed writer leaves then
        have a number below `next_file`, so they are recognised and deleted."""
        return replace(self, next_file=self.next_file + count)

    def files(self) -> set[str]:
        """The names of all files."""
        return {entry.file for entry in (*self.shards, self.index) if entry is not None}

    def is_obsolete(self, name: str) -> bool:
        """Whether a file was replaced, or left by a killed writer. A file with a later number is neither: a restored
        manifest is older than the files written after the backup."""
        number = parsed_number(name)
        return number is not None and name not in self.files() and number < self.next_file

    def write(self, directory: Path) -> None:
        """Replace the manifest of a gallery atomically, then its copy."""
        content = {**asdict(self), "rows": self.rows}
        content["checksum"] = _checksum(content)
        data = _BETWEEN_NUMBERS.sub("", json.dumps(content, indent=1)).encode()
        if len(data) > _MAX_BYTES:
            raise GalleryError(
                f"{directory / MANIFEST_NAME} would have more than {_MAX_BYTES} bytes. Erase removed images by `tbps "
                f"gallery compact {directory}`, or split the images into several galleries."
            )
        try:
            write_atomically(directory / MANIFEST_NAME, data)
        except OSError:
            if not (directory / COPY_NAME).is_file():
                raise
            (directory / COPY_NAME).unlink()  # on a full disk this frees enough space to remove rows
            write_atomically(directory / MANIFEST_NAME, data)
        try:  # one of the two files is complete at any time
            write_atomically(directory / COPY_NAME, data, durable=False)
        except OSError as error:
            logger.warning("%s could not be written: %s.", directory / COPY_NAME, error.strerror)

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """
        Read the manifest of a gallery.

        Raises:
            GalleryError: it is damaged, is not a manifest, or has a format that this version does not read.
        """
        path = directory / MANIFEST_NAME
        try:
            return parse_manifest(read_content(path))
        except OtherFormatError as error:
            raise GalleryError(f"{path} {error}") from None
        except OSError as error:
            raise GalleryError(f"{path} cannot be read ({error.strerror}).") from error
        except ValueError as error:
            raise GalleryError(
                f"{path} is damaged ({error}). Rebuild it from its copy or from the shards: `tbps gallery repair "
                f"{directory}`."
            ) from error


class OtherFormatError(Exception):
    """The manifest is sound, but another version of tbps wrote it."""


def current_manifest(directory: Path) -> Manifest:
    """
    Read the manifest of a gallery, and refuse one that is older than its copy.

    Somebody may have restored an older manifest from a backup. The next commits would overwrite files that it does not
    name. After changes that write no shard, such as removals, this cannot be detected.

    Raises:
        GalleryError: see `Manifest.read`; or the copy is newer.
    """
    copied = _next_file_of_copy(directory / COPY_NAME)  # read first, because it is written last
    manifest = Manifest.read(directory)
    if copied > manifest.next_file:
        raise GalleryError(
            f"{directory / MANIFEST_NAME} cannot be used ({OUTDATED}). Return to the later state by `tbps gallery "
            f"repair {directory}`; to keep the earlier state, restore its {COPY_NAME} too."
        )
    return manifest


def _next_file_of_copy(copy: Path) -> int:
    """Return `next_file` of the copy; 0 if it cannot be read, because only repairs need it."""
    with suppress(OSError, ValueError):
        content = read_content(copy)
        number = content.get("next_file")
        if content["format_version"] == FORMAT_VERSION and type(number) is int:
            return number
    return 0


def read_content(path: Path) -> dict[str, Any]:
    """
    Read the file of a manifest of any format, compare its checksum, and return the content without it.

    Raises:
        OSError: the file cannot be read.
        ValueError: it was changed, or is not a manifest.
    """
    content = parse_json(read_regular(path, _MAX_BYTES))
    if not isinstance(content, dict) or type(content.get("format_version")) is not int:
        raise ValueError("it is not a manifest")
    known = content["format_version"] in (CONVERTIBLE_VERSION, FORMAT_VERSION)
    if known and _checksum(content) != content.pop("checksum", None):
        raise ValueError("its checksum does not match its content")
    return content


def parse_manifest(content: Mapping[str, Any]) -> Manifest:
    """
    Build a manifest from its content.

    Raises:
        OtherFormatError: the content has another format.
        ValueError: it does not describe a manifest of this format.
    """
    version = content["format_version"]
    if version != FORMAT_VERSION:
        raise OtherFormatError(
            f"has format {version}, written by tbps {str(content.get('tbps_version'))[:40]}. This tbps reads format "
            f"{FORMAT_VERSION}: {_advice(version)}."
        )
    values = dict(content)
    rows = values.pop("rows", None)
    manifest = build_dataclass(Manifest, values, "the manifest")
    if rows != manifest.rows or type(rows) is not int:
        raise ValueError(f"rows must be {manifest.rows}, got {rows!r:.80}")
    return manifest


def _advice(version: int) -> str:
    if version == CONVERTIBLE_VERSION:
        return "`tbps gallery repair FOLDER` converts it without encoding an image"
    return "upgrade tbps" if version > FORMAT_VERSION else "add the images to a gallery in a new folder"


def _checksum(content: Mapping[str, Any]) -> str:
    """The checksum of everything but the checksum, whatever the white space."""
    rest = {name: value for name, value in content.items() if name != "checksum"}
    try:
        return checksum(json.dumps(rest, sort_keys=True).encode())
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
