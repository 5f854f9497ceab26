"""Conversion of galleries of format 2, in which all rows of a file share one error bound."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tbps.gallery.folder.checked_file import CheckedFile
from tbps.gallery.folder.int8 import ROW_NUMBERS, Codes, quantise
from tbps.gallery.folder.manifest import FORMAT_VERSION, Manifest, parse_manifest
from tbps.gallery.folder.manifest_entries import Origin, ShardEntry, file_name
from tbps.gallery.folder.shard_file import checked_column, open_stream, schema, with_origin
from tbps.gallery.folder.shards import code_columns, write_batch
from tbps.gallery.scalars import name_of

_STEPS = b"tbps.steps"


def upgrade_manifest(content: Mapping[str, Any]) -> Manifest:
    """
    Convert the manifest of format 2, without the index. The files that it names still have format 2.

    Raises:
        ValueError: the content does not describe a manifest of format 2.
    """
    model = content.get("model")
    present: dict[str, Any] = {"format_version": FORMAT_VERSION, "index": None}
    if isinstance(model, dict):
        present["model"] = {**model, "traits": {}}
    return parse_manifest({**content, **present})


def convert_shard(directory: Path, entry: ShardEntry, number: int, origin: Origin) -> ShardEntry:
    """
    Copy the rows of a shard of format 2 that were not removed into a new file. The stored vectors do not change; in an
    int8 gallery, neither do the codes.

    Args:
        directory: the gallery's folder.
        entry: the shard of format 2.
        number: the number of the new file.
        origin: the origin of the gallery.

    Raises:
        GalleryError: the shard is damaged.
        OSError: the new file cannot be written.
    """
    file = CheckedFile(directory / entry.file, entry.size, entry.checksums)
    old = open_stream(file, _schema(origin))
    live = pa.array(np.setdiff1d(np.arange(entry.rows), np.array(entry.removed, np.int64)))
    columns = {name: checked_column(file, old, name).take(live) for name in old.schema.names}
    columns |= {name: _names(columns, name) for name in ("camera", "source")}
    numbers = _matrix(columns["code"])
    steps = np.frombuffer(old.schema.metadata[_STEPS], np.float32)
    if origin.layout.dtype == "int8":
        none = np.zeros(len(live), np.float32)
        reach = np.linalg.norm(numbers.astype(np.float64), axis=1).astype(np.float32) * np.float32(1 + 1e-6)
        codes = Codes(numbers, steps, none + 1, none, none, reach).instead_of_vectors()
    else:
        codes = quantise(_matrix(columns["embedding"]).astype(np.float32))
    batch = pa.record_batch(columns | code_columns(codes), schema=schema(origin.layout))
    return write_batch(directory / file_name(number, "shard"), with_origin(batch, codes.steps, origin))


def _names(columns: Mapping[str, pa.Array], name: str) -> pa.Array:
    """Convert cameras or sources to the form that filters compare now. The number 3.0 is the same as 3; in format 2 it
    was the text "3.0"."""
    texts = columns[name].to_pylist()
    for position, text in enumerate(texts):
        if text is not None and (text.endswith(".0") or "e" in text):
            with suppress(
                ValueError, TypeError, KeyError, RecursionError
            ):  # metadata that tbps did not write stays as it is
                value = json.loads(columns["metadata"][position].as_py())[name]
                texts[position] = name_of(name, value) if isinstance(value, float) else text
    return pa.array(texts, pa.string())


def _schema(origin: Origin) -> pa.Schema:
    present = schema(origin.layout)
    return pa.schema([field for field in present if field.name not in ROW_NUMBERS])


def _matrix(column: pa.Array) -> np.ndarray:
    flat: np.ndarray = column.flatten().to_numpy()
    return flat.reshape(len(column), -1)
