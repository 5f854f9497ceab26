"""Rows from metadata, and metadata from rows."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tbps.gallery.errors import GalleryError
from tbps.gallery.filters import seconds
from tbps.gallery.home import Row


def make_row(id: str, path: str | None, metadata: Mapping[str, Any]) -> Row:
    """A row whose typed fields are those that its metadata has."""
    camera, source = metadata.get("camera"), metadata.get("source")
    return Row(
        id=id,
        path=path,
        metadata=json.dumps(metadata),
        camera=None if camera is None else str(camera),
        timestamp=seconds("timestamp", metadata.get("timestamp")),
        source=None if source is None else str(source),
    )


def metadata_of(row: Row) -> dict[str, Any]:
    """The metadata of a row.

    Raises:
        GalleryError: somebody else wrote it, and it is no JSON object.
    """
    try:
        return dict(json.loads(row.metadata))
    except (ValueError, TypeError) as error:
        raise GalleryError(f"The metadata of the image {row.id!r} is no JSON object: remove that image.") from error


def changed_row(row: Row, path: str | None, changes: Mapping[str, Any]) -> Row:
    """The row with a path, if there is one, and with some names of its metadata set, or taken out where the value is
    None. Its other names and its thumbnail stay."""
    metadata = {**metadata_of(row), **changes}
    kept = {name: value for name, value in metadata.items() if value is not None or name not in changes}
    return replace(make_row(row.id, path or row.path, kept), thumbnail=row.thumbnail)
