"""A gallery's rows as entities of a Milvus collection, in terms that servers from 2.3 on and Milvus Lite know."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tbps.gallery.checks import GalleryError
from tbps.gallery.metadata import stored_row
from tbps.gallery.milvus.expressions import ID_LENGTH, NO_TIME, is_id
from tbps.gallery.milvus.tags import DIGEST_LENGTH, digest, tags
from tbps.gallery.store import Row

VECTOR = "vector"
_TEXTS = ("path", "metadata", "thumbnail")
STORED = ("id", "number", *_TEXTS, VECTOR)  # the others are only searched, and made from the metadata
_TEXT_BYTES = 65535  # the most that Milvus allows, of a text
_MOST_TAGS = 4096  # of an array


def fields_for(columns: Sequence[str]) -> list[str]:
    """What has to be asked of the server for some fields of rows."""
    made = {"camera": "metadata", "source": "metadata", "timestamp": "metadata"}
    return sorted({"id", "number", *(made.get(name, name) for name in columns)})


def make_schema(client: Any, width: int) -> Any:
    """The fields of a collection of vectors (E,). `number` orders rows by insertion."""
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=ID_LENGTH)
    schema.add_field("number", DataType.INT64)
    for name in _TEXTS:
        schema.add_field(name, DataType.VARCHAR, max_length=_TEXT_BYTES)
    schema.add_field("timestamp", DataType.DOUBLE)
    for name in ("camera_digest", "source_digest"):
        schema.add_field(name, DataType.VARCHAR, max_length=DIGEST_LENGTH)
    schema.add_field("tags", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=_MOST_TAGS,
                     max_length=DIGEST_LENGTH)  # fmt: skip
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=width)
    return schema


def to_entity(row: Row, vector: np.ndarray, number: int) -> dict[str, Any]:
    """
    What is stored of a row: texts that may be missing as JSON, the thumbnail in base 64.

    Raises:
        GalleryError: an id, a text or the number of metadata entries that Milvus cannot hold.
    """
    if not is_id(row.id):
        raise GalleryError(f"The id {row.id!r}: expected 1 to {ID_LENGTH} letters, digits and _.:/- of ASCII.")
    row = replace(stored_row(row.id, row.path, row.metadata), thumbnail=row.thumbnail)  # as it will be read
    entity: dict[str, Any] = {
        "id": row.id,
        "number": number,
        "path": json.dumps(row.path),
        "metadata": row.metadata,
        "thumbnail": base64.b64encode(row.thumbnail or b"").decode(),
        "timestamp": NO_TIME if row.timestamp is None else row.timestamp,
        "camera_digest": _digest("camera", row.camera),
        "source_digest": _digest("source", row.source),
        "tags": tags(row),
        VECTOR: vector,
    }
    for name in _TEXTS:
        size = len(entity[name].encode())
        if size > _TEXT_BYTES:
            raise GalleryError(
                f"The {name} of {row.path or row.id} has {size} bytes: Milvus holds {_TEXT_BYTES} at most. Shorten it."
            )
    if len(entity["tags"]) > _MOST_TAGS:
        raise GalleryError(
            f"The metadata of {row.path or row.id} have too many entries: Milvus holds {_MOST_TAGS} in all, of which a "
            "number counts for seventeen. Leave some out."
        )
    return entity


def to_row(entity: Mapping[str, Any]) -> Row:
    """
    The row that was stored; where only some of it was asked for, the rest is missing.

    Raises:
        GalleryError: somebody else wrote it, and its metadata is no JSON object, or its path no text.
    """
    entity = {"path": "null", "metadata": "{}", "thumbnail": "", **entity}
    try:
        path, thumbnail = json.loads(entity["path"]), base64.b64decode(entity["thumbnail"])
    except (ValueError, RecursionError):
        path, thumbnail = 0, b""
    if not isinstance(path, str | None):
        raise GalleryError(f"The image {entity['id']!r} has a path or a thumbnail that tbps did not write: remove it.")
    return replace(stored_row(entity["id"], path, entity["metadata"]), thumbnail=thumbnail or None)


def _digest(name: str, value: str | None) -> str:
    """What filters ask of a row's camera or source; empty where it has none."""
    return "" if value is None else digest("row", name, value)
