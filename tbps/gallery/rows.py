"""Rows from metadata, and metadata from rows."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tbps.gallery.errors import GalleryError
from tbps.gallery.home import Row
from tbps.gallery.metadata import parsed
from tbps.gallery.moments import seconds
from tbps.gallery.scalars import name_of, shown


def make_row(id: str, path: str | None, metadata: Mapping[str, Any]) -> Row:
    """A row whose typed fields are those that its metadata has."""
    camera, source = metadata.get("camera"), metadata.get("source")
    return Row(
        id=id,
        path=path,
        metadata=json.dumps(metadata),
        camera=None if camera is None else name_of("camera", camera),
        timestamp=seconds("timestamp", metadata.get("timestamp")),
        source=None if source is None else name_of("source", source),
    )


def metadata_of(row: Row) -> dict[str, Any]:
    """The metadata of a row.

    Raises:
        GalleryError: somebody else wrote it, and it is no JSON object.
    """
    return parsed(row.metadata, row.id)


def stored_row(id: str, path: str | None, metadata: Mapping[str, Any]) -> Row:
    """
    `make_row`, of metadata that are there already.

    Raises:
        GalleryError: somebody else wrote them, or an earlier version that took what is refused now.
    """
    try:
        return make_row(id, path, metadata)
    except (TypeError, ValueError) as error:
        raise GalleryError(f"The metadata of the image {shown(id)}: {error} Remove that image.") from error


def changed_row(row: Row, path: str | None, changes: Mapping[str, Any]) -> Row:
    """The row with a path, if there is one, and with some names of its metadata set, or taken out where the value is
    None. Its other names and its thumbnail stay."""
    metadata = {**metadata_of(row), **changes}
    kept = {name: value for name, value in metadata.items() if value is not None or name not in changes}
    return replace(stored_row(row.id, path or row.path, kept), thumbnail=row.thumbnail)
