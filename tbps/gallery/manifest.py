"""`gallery.json`: what a gallery consists of. A shard counts only when the manifest names it."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from tbps.files import checksum, write_atomically
from tbps.fingerprint import ModelIdentity
from tbps.gallery.errors import GalleryError

MANIFEST_NAME = "gallery.json"
FORMAT_VERSION = 2
_FILE_NAME = re.compile(r"shard-\d{6,}\.arrow|index-\d{6,}\.faiss")

Dtype = Literal["float32", "float16", "int8"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)


@dataclass(frozen=True)
class ShardEntry:
    """One file of rows: its name in the gallery's folder, its rows, its bytes, the checksums of its blocks, and the
    places of rows that were removed and are still in the file."""

    file: str
    rows: int
    size: int
    checksums: str
    removed: tuple[int, ...] = ()

    @property
    def kept(self) -> int:
        """The number of rows that were not removed."""
        return self.rows - len(self.removed)


@dataclass(frozen=True)
class IndexEntry:
    """The file of an approximate index: its name, the number of rows in it (the first ones), its lists, its bytes."""

    file: str
    rows: int
    lists: int
    size: int
    checksums: str


@dataclass(frozen=True)
class Layout:
    """How vectors are stored: their numbers' type, E numbers of which the first `prefix_dim` are the global embedding,
    then `num_parts` parts of `part_dim`."""

    dtype: Dtype
    prefix_dim: int
    num_parts: int
    part_dim: int


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

    @property
    def rows(self) -> int:
        """The number of rows that were not removed."""
        return sum(shard.kept for shard in self.shards)

    def next_name(self, kind: Literal["shard", "index"] = "shard") -> str:
        """A file left by a killed process may have this name already; it is of no use and is replaced."""
        return f"{kind}-{self.next_file:06d}.{'arrow' if kind == 'shard' else 'faiss'}"

    def with_shard(self, shard: ShardEntry) -> "Manifest":
        """The manifest after one more commit."""
        return replace(self, shards=(*self.shards, shard), next_file=self.next_file + 1)

    def with_index(self, index: IndexEntry) -> "Manifest":
        """The manifest with a new index."""
        return replace(self, index=index, next_file=self.next_file + 1)

    def files(self) -> set[str]:
        """The names of all files."""
        return {entry.file for entry in (*self.shards, self.index) if entry is not None}

    def is_past(self, name: str) -> bool:
        """Whether a file was replaced, or left by a writer that was killed. A file of a number still to come is not:
        it may have been written after a copy of the manifest was made that somebody has put back."""
        if not _FILE_NAME.fullmatch(name):
            return False
        return name not in self.files() and int(name.split("-")[1].split(".")[0]) < self.next_file

    def write(self, directory: Path) -> None:
        """Replace the gallery's manifest in one step."""
        content = {**asdict(self), "rows": self.rows}
        content["checksum"] = _checksum(content)
        write_atomically(directory / MANIFEST_NAME, json.dumps(content, indent=1).encode())

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """
        The manifest of an existing gallery.

        Raises:
            GalleryError: it is no manifest, damaged, or of a format that this version does not read.
        """
        path = directory / MANIFEST_NAME
        try:
            return _parse(json.loads(path.read_bytes()))
        except _OtherFormatError as error:
            raise GalleryError(f"{path} {error}") from None
        except (ValueError, TypeError, KeyError) as error:
            raise GalleryError(
                f"{path} is damaged ({error}): restore it from a copy, or add the images again to a gallery in a new "
                "folder."
            ) from error


class _OtherFormatError(Exception):
    """Not damage: another version wrote it."""


def _checksum(content: Mapping[str, Any]) -> str:
    """Of all but the checksum itself, whatever the spacing."""
    rest = {name: value for name, value in content.items() if name != "checksum"}
    return checksum(json.dumps(rest, sort_keys=True).encode())


def _parse(content: dict[str, Any]) -> Manifest:
    version = content["format_version"]
    if isinstance(version, int) and version != FORMAT_VERSION:
        advice = "upgrade tbps" if version > FORMAT_VERSION else "add the images again to a gallery in a new folder"
        raise _OtherFormatError(
            f"has format {version}, written by tbps {content.get('tbps_version')}; this tbps reads format "
            f"{FORMAT_VERSION}: {advice}."
        )
    if _checksum(content) != content["checksum"]:
        raise ValueError("its checksum is not that of its content")
    shards = tuple(ShardEntry(**_typed(ShardEntry, s) | {"removed": tuple(s["removed"])}) for s in content["shards"])
    index = None if content["index"] is None else IndexEntry(**_typed(IndexEntry, content["index"]))
    model = ModelIdentity(**_typed(ModelIdentity, content["model"]))
    layout = Layout(**_typed(Layout, content["layout"]))
    values = {name: value for name, value in content.items() if name not in ("rows", "checksum")}
    parsed = {"model": model, "layout": layout, "shards": shards, "index": index}
    manifest = Manifest(**{**_typed(Manifest, values), **parsed})
    for name in manifest.files():
        if not _FILE_NAME.fullmatch(name):  # never open what lies outside the folder
            raise ValueError(f"{name!r} is no name of a shard or an index")
    return manifest


def _typed(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by name, if all fields that are plain text or numbers have their type."""
    for field in fields(kind):
        if isinstance(field.type, type) and field.type in (str, int) and type(values[field.name]) is not field.type:
            raise TypeError(f"{field.name}={values[field.name]!r}, expected {field.type.__name__}")
    return dict(values)
