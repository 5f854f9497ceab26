"""Rows as entities of a Milvus collection, with field types that Milvus 2.3 and later and Milvus Lite support."""

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
STORED = ("id", "number", *_TEXTS, VECTOR)  # the other fields serve filters, and are derived from the metadata
_TEXT_BYTES = 65535  # the limit of Milvus for a text
_MAX_TAGS = 4096  # the limit of Milvus for an array


def fields_for(columns: Sequence[str]) -> list[str]:
    """Return the Milvus fields that hold the given columns."""
    made = {"camera": "metadata", "source": "metadata", "timestamp": "metadata"}
    return sorted({"id", "number", *(made.get(name, name) for name in columns)})


def make_schema(client: Any, width: int) -> Any:
    """Make the schema of a collection for vectors (E,), E = `width`. The field `number` orders rows by insertion."""
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=ID_LENGTH)
    schema.add_field("number", DataType.INT64)
    for name in _TEXTS:
        schema.add_field(name, DataType.VARCHAR, max_length=_TEXT_BYTES)
    schema.add_field("timestamp", DataType.DOUBLE)
    for name in ("camera_digest", "source_digest"):
        schema.add_field(name, DataType.VARCHAR, max_length=DIGEST_LENGTH)
    schema.add_field("tags", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=_MAX_TAGS,
                     max_length=DIGEST_LENGTH)  # fmt: skip
    schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=width)
    return schema


def to_entity(row: Row, vector: np.ndarray, number: int) -> dict[str, Any]:
    """
    Convert a row to an entity. A path, which may be None, becomes JSON, and a thumbnail base 64.

    Args:
        row: the row.
        vector: its vector (E,).
        number: its number in the order of insertion.

    Raises:
        GalleryError: Milvus does not allow the id, the length of a text, or the number of metadata entries.
    """
    if not is_id(row.id):
        raise GalleryError(f"An id in Milvus must be 1 to {ID_LENGTH} ASCII letters, digits and _.:/-, got {row.id!r}.")
    row = replace(stored_row(row.id, row.path, row.metadata), thumbnail=row.thumbnail)  # as it will be read back
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
                f"The {name} of {row.path or row.id} has {size} bytes. Milvus stores at most {_TEXT_BYTES}: shorten it."
            )
    if len(entity["tags"]) > _MAX_TAGS:
        raise GalleryError(
            f"The metadata of {row.path or row.id} have too many entries. Milvus stores at most {_MAX_TAGS} tags, and "
            "a number takes seventeen of them: leave some entries out."
        )
    return entity


def to_row(entity: Mapping[str, Any]) -> Row:
    """
    Convert an entity to a row. Fields that the entity lacks stay empty.

    Raises:
        GalleryError: tbps did not write the entity: its metadata are not a JSON object, or its path is not text.
    """
    entity = {"path": "null", "metadata": "{}", "thumbnail": "", **entity}
    try:
        path, thumbnail = json.loads(entity["path"]), base64.b64decode(entity["thumbnail"])
    except (ValueError, RecursionError):
        path, thumbnail = 0, b""
    if not isinstance(path, str | None):
        raise GalleryError(
            f"The image {entity['id']!r} has a path or a thumbnail that tbps did not write. Remove the image."
        )
    return replace(stored_row(entity["id"], path, entity["metadata"]), thumbnail=thumbnail or None)


def _digest(name: str, value: str | None) -> str:
    """Return the digest of a camera or a source for filters; "" if there is none."""
    return "" if value is None else digest("row", name, value)
