"""A gallery's rows as entities of a Milvus collection, in terms that servers from 2.3 on and Milvus Lite know."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from tbps.gallery.errors import GalleryError
from tbps.gallery.home import Row
from tbps.gallery.milvus_filters import DIGEST_LENGTH, ID_LENGTH, NO_TIME, digest, is_id, tags

VECTOR = "vector"
_TEXTS = ("path", "camera", "source", "metadata", "thumbnail")
STORED = ("id", "number", *_TEXTS, "timestamp", VECTOR)  # all but the digests, which are only searched
_TEXT_BYTES = 65535  # the most that Milvus allows, of a text
_MOST_TAGS = 4096  # of an array


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
    entity: dict[str, Any] = {
        "id": row.id,
        "number": number,
        "path": json.dumps(row.path),
        "camera": json.dumps(row.camera),
        "source": json.dumps(row.source),
        "metadata": row.metadata,
        "thumbnail": base64.b64encode(row.thumbnail or b"").decode(),
        "timestamp": NO_TIME if row.timestamp is None else row.timestamp,
        "camera_digest": digest("camera", row.camera),
        "source_digest": digest("source", row.source),
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
            f"The metadata of {row.path or row.id} have over {_MOST_TAGS} entries: Milvus holds no more."
        )
    return entity


def to_row(entity: Mapping[str, Any]) -> Row:
    """The row that was stored."""
    time = entity["timestamp"]
    return Row(
        id=entity["id"],
        path=json.loads(entity["path"]),
        metadata=entity["metadata"],
        camera=json.loads(entity["camera"]),
        timestamp=None if time == NO_TIME else time,
        source=json.loads(entity["source"]),
        thumbnail=base64.b64decode(entity["thumbnail"]) or None,
    )
