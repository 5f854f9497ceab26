"""Galleries of format 2, whose codes had one bound for all rows of a file, as galleries of this format."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tbps.gallery.folder.checked_file import CheckedFile
from tbps.gallery.folder.int8 import ROW_NUMBERS, Codes, quantise
from tbps.gallery.folder.manifest import FORMAT_VERSION, Manifest, Origin, ShardEntry, file_name, manifest_of
from tbps.gallery.folder.shard_file import checked_column, described, open_stream, schema
from tbps.gallery.folder.shards import code_columns, write_batch
from tbps.gallery.scalars import name_of

_STEPS = b"tbps.steps"


def as_present(content: Mapping[str, Any]) -> Manifest:
    """
    The manifest of a gallery of format 2, whose files are still of that format; without its index.

    Raises:
        ValueError: it is none.
    """
    model = content.get("model")
    present: dict[str, Any] = {"format_version": FORMAT_VERSION, "index": None}
    if isinstance(model, dict):
        present["model"] = {**model, "traits": {}}
    return manifest_of({**content, **present})


def convert_shard(directory: Path, entry: ShardEntry, number: int, origin: Origin) -> ShardEntry:
    """
    Write the rows of a shard of format 2, but for those that were removed, into a new file. Vectors, and codes that
    are all that is kept of them, stay as they are.

    Raises:
        GalleryError: it is damaged. OSError: the new one cannot be written.
    """
    file = CheckedFile(directory / entry.file, entry.size, entry.checksums)
    old = open_stream(file, _schema(origin))
    kept = pa.array(np.setdiff1d(np.arange(entry.rows), np.array(entry.removed, np.int64)))
    columns = {name: checked_column(file, old, name).take(kept) for name in old.schema.names}
    columns |= {name: _names(columns, name) for name in ("camera", "source")}
    numbers = _matrix(columns["code"])
    steps = np.frombuffer(old.schema.metadata[_STEPS], np.float32)
    if origin.layout.dtype == "int8":
        none = np.zeros(len(kept), np.float32)
        reach = np.linalg.norm(numbers.astype(np.float64), axis=1).astype(np.float32) * np.float32(1 + 1e-6)
        codes = Codes(numbers, steps, none + 1, none, none, reach).instead_of_vectors()
    else:
        codes = quantise(_matrix(columns["embedding"]).astype(np.float32))
    batch = pa.record_batch(columns | code_columns(codes), schema=schema(origin.layout))
    return write_batch(directory / file_name(number, "shard"), described(batch, codes.steps, origin))


def _names(columns: Mapping[str, pa.Array], name: str) -> pa.Array:
    """Cameras or sources as filters ask for them now, where a number is the same however it was written: 3.0 was text
    of its own."""
    texts = columns[name].to_pylist()
    for place, text in enumerate(texts):
        if text is not None and (text.endswith(".0") or "e" in text):
            with suppress(ValueError, TypeError, KeyError, RecursionError):  # what somebody else wrote stays as it is
                value = json.loads(columns["metadata"][place].as_py())[name]
                texts[place] = name_of(name, value) if isinstance(value, float) else text
    return pa.array(texts, pa.string())


def _schema(origin: Origin) -> pa.Schema:
    present = schema(origin.layout)
    return pa.schema([field for field in present if field.name not in ROW_NUMBERS])


def _matrix(column: pa.Array) -> np.ndarray:
    flat: np.ndarray = column.flatten().to_numpy()
    return flat.reshape(len(column), -1)
