"""Galleries of format 2: one step per dimension, one bound per file, and no copy of the manifest."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
from forging import forge

from tbps.gallery.folder.checked_file import block_checksums
from tbps.gallery.store import Row

TYPES = {"timestamp": pa.float64(), "thumbnail": pa.binary()}


def lists(matrix: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])


def write_shard(path: Path, rows: list[Row], vectors: np.ndarray, dtype: str) -> np.ndarray:
    """Write a shard and return its stored vectors."""
    stored = vectors.astype(np.float16 if dtype == "float16" else np.float32)
    steps = np.abs(stored.astype(np.float32)).max(axis=0) / np.float32(127)
    numbers = np.rint(stored.astype(np.float32) / steps).astype(np.int8)
    columns = {one.name: pa.array([getattr(row, one.name) for row in rows], TYPES.get(one.name, pa.string()))
               for one in fields(Row)}  # fmt: skip
    columns["code"] = lists(numbers)
    if dtype != "int8":
        columns["embedding"] = lists(stored)
    metadata = {b"tbps.steps": steps.tobytes(), b"tbps.slack": b"0.5", b"tbps.reach": b"900.0"}
    batch = pa.record_batch(columns).replace_schema_metadata(metadata)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, batch.schema) as stream:
        stream.write_batch(batch)
    return numbers * steps if dtype == "int8" else stored.astype(np.float32)


def write_gallery(
    folder: Path, shards: list[tuple[list[Row], np.ndarray]], removed: list[list[int]], dtype: str
) -> np.ndarray:
    """Write a gallery with vectors of 8 + 2 x 4 numbers and return all its stored vectors."""
    folder.mkdir()
    stored, entries = [], []
    for number, ((rows, vectors), gone) in enumerate(zip(shards, removed, strict=True)):
        path = folder / f"shard-{number:06d}.arrow"
        stored.append(write_shard(path, rows, vectors, dtype))
        data = path.read_bytes()
        entries.append({"file": path.name, "rows": len(rows), "size": len(data), "checksums": block_checksums(data),
                        "removed": gone})  # fmt: skip
    (folder / "index-000009.faiss").write_bytes(b"an index")
    index = {"file": "index-000009.faiss", "rows": entries[0]["rows"], "lists": 1, "size": 8,
             "checksums": block_checksums(b"an index")}  # fmt: skip
    content = {
        "model": {"name": "m", "fingerprint": "f", "embedding_dim": 16, "revision": None},
        "layout": {"dtype": dtype, "prefix_dim": 8, "num_parts": 2, "part_dim": 4},
        "tbps_version": "0.1.0",
        "format_version": 2,
        "next_file": 10,
        "shards": entries,
        "index": index,
        "rows": sum(entry["rows"] - len(entry["removed"]) for entry in entries),
    }
    forge(folder, json.loads(json.dumps(content)))
    return np.concatenate(stored)
