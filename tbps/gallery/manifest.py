"""`gallery.json`: what a gallery consists of. A shard counts only when the manifest names it."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tbps.files import write_atomically
from tbps.fingerprint import ModelIdentity
from tbps.gallery.errors import GalleryError

MANIFEST_NAME = "gallery.json"
FORMAT_VERSION = 1
_SHARD_NAME = re.compile(r"shard-\d{6,}\.arrow")


@dataclass(frozen=True)
class ShardEntry:
    """One file of rows: its name in the gallery's folder, its number of rows, the checksum of its bytes."""

    file: str
    rows: int
    checksum: str


@dataclass(frozen=True)
class Manifest:
    """The gallery's model, and its shards in order of insertion; `tbps_version` is that of its creation."""

    model: ModelIdentity
    tbps_version: str
    format_version: int = FORMAT_VERSION
    shards: tuple[ShardEntry, ...] = ()

    def next_shard_name(self) -> str:
        """A file left by a killed process may have this name already; it is of no use and is replaced."""
        return f"shard-{len(self.shards):06d}.arrow"

    def with_shard(self, shard: ShardEntry) -> "Manifest":
        """The manifest after one more commit."""
        return replace(self, shards=(*self.shards, shard))

    def write(self, directory: Path) -> None:
        """Replace the gallery's manifest in one step."""
        write_atomically(directory / MANIFEST_NAME, json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """
        The manifest of an existing gallery.

        Raises:
            GalleryError: it is no manifest, or one of a format that this version does not know.
        """
        path = directory / MANIFEST_NAME
        try:
            return _parse(json.loads(path.read_bytes()))
        except _NewerFormatError as error:
            raise GalleryError(f"{path} {error}") from None
        except (ValueError, TypeError, KeyError) as error:
            raise GalleryError(
                f"{path} is damaged ({error}): restore it from a copy, or add the images again to a gallery in a new "
                "folder."
            ) from error


class _NewerFormatError(Exception):
    """Not damage: a later version wrote it."""


def _parse(content: dict[str, Any]) -> Manifest:
    version = content["format_version"]
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise _NewerFormatError(
            f"has format {version}, written by tbps {content.get('tbps_version')}; this tbps reads up to format "
            f"{FORMAT_VERSION}: upgrade tbps."
        )
    shards = tuple(ShardEntry(**_typed(ShardEntry, shard)) for shard in content["shards"])
    for shard in shards:
        if not _SHARD_NAME.fullmatch(shard.file):  # never open what lies outside the folder
            raise ValueError(f"{shard.file!r} is no name of a shard")
    model = ModelIdentity(**_typed(ModelIdentity, content["model"]))
    return Manifest(**{**_typed(Manifest, content), "model": model, "shards": shards})


def _typed(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by name, if all fields that are plain text or numbers have their type."""
    for field in fields(kind):
        if isinstance(field.type, type) and field.type in (str, int) and type(values[field.name]) is not field.type:
            raise TypeError(f"{field.name}={values[field.name]!r}, expected {field.type.__name__}")
    return dict(values)
