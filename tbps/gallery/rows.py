"""Rows from metadata, and metadata from rows."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tbps.gallery.checks import shown
from tbps.gallery.errors import GalleryError
from tbps.gallery.home import Row
from tbps.gallery.metadata import parsed
from tbps.gallery.moments import seconds
from tbps.gallery.scalars import name_of

_TYPED: dict[str, Callable[[str, Any], Any]] = {"camera": name_of, "source": name_of, "timestamp": seconds}


def make_row(id: str, path: str | None, metadata: Mapping[str, Any]) -> Row:
    """A row whose typed fields are those that its metadata has."""
    facts = {name: read(name, metadata[name]) for name, read in _TYPED.items() if metadata.get(name) is not None}
    return Row(id, path, json.dumps(metadata), **facts)


def stored_row(id: str, path: str | None, metadata: str) -> Row:
    """
    The row of metadata that are there already. An earlier version or a stranger may have written them: a camera, source
    or timestamp that would be refused today cannot be asked for, and all of it stays as it is.

    Raises:
        GalleryError: they are no JSON object.
    """
    facts = {name: _fact(name, value) for name, value in parsed(metadata, id).items() if name in _TYPED}
    return Row(id, path, metadata, **facts)


def _fact(name: str, value: Any) -> Any:
    try:
        return None if value is None else _TYPED[name](name, value)
    except (TypeError, ValueError):
        return None


def metadata_of(row: Row) -> dict[str, Any]:
    """The metadata of a row.

    Raises:
        GalleryError: somebody else wrote it, and it is no JSON object.
    """
    return parsed(row.metadata, row.id)


def changed_row(row: Row, path: str | None, changes: Mapping[str, Any]) -> Row:
    """The row with a path, if there is one, and with some names of its metadata set, or taken out where the value is
    None. Its other names and its thumbnail stay.

    Raises:
        GalleryError: of what stays, an earlier version or somebody else wrote what is refused.
    """
    metadata = {**metadata_of(row), **changes}
    kept = {name: value for name, value in metadata.items() if value is not None or name not in changes}
    try:
        changed = make_row(row.id, path or row.path, kept)
    except (TypeError, ValueError) as error:
        raise GalleryError(f"The metadata of the image {shown(row.id)}: {error} Change that too.") from error
    return replace(changed, thumbnail=row.thumbnail)
