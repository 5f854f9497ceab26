"""One commit of rows as an Arrow file, read through a memory map (`datasets.Dataset.from_file` opens it too)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tbps.files import checksum, file_checksum, write_atomically
from tbps.gallery.errors import GalleryError
from tbps.gallery.manifest import ShardEntry


@dataclass(frozen=True)
class Row:
    """What is kept of an image besides its vector; `metadata` is a JSON object as text."""

    id: str
    path: str | None
    metadata: str


def write_shard(path: Path, rows: Sequence[Row], embeddings: np.ndarray) -> ShardEntry:
    """Write N rows and their embeddings (N, E) float32 in one step."""
    width = embeddings.shape[1]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.astype(np.float32).reshape(-1)), width)
    columns = {
        "id": pa.array([row.id for row in rows], pa.string()),
        "path": pa.array([row.path for row in rows], pa.string()),
        "metadata": pa.array([row.metadata for row in rows], pa.string()),
        "embedding": vectors,
    }
    batch = pa.record_batch(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    data = memoryview(sink.getvalue())
    # of the bytes in memory, not of the file: what the disk garbles is noticed too
    entry = ShardEntry(path.name, len(rows), checksum(data))
    write_atomically(path, data)
    return entry


class Shard:
    """A verified shard under a memory map."""

    def __init__(self, directory: Path, entry: ShardEntry, embedding_dim: int) -> None:
        self._rows = _open_verified(directory / entry.file, entry)
        flat = self._rows["embedding"].values.to_numpy(zero_copy_only=True)  # flatten() would copy it into memory
        self.embeddings: np.ndarray = flat.reshape(-1, embedding_dim)  # (N, E), a view of the file

    @property
    def ids(self) -> pa.StringArray:
        """The ids of the N rows."""
        return self._rows["id"]

    def row(self, position: int) -> Row:
        """The row at 0 <= position < N."""
        return Row(*(self._rows[name][position].as_py() for name in ("id", "path", "metadata")))


def _open_verified(path: Path, entry: ShardEntry) -> pa.RecordBatch:
    """
    The rows of a shard whose bytes are those that were written.

    Raises:
        GalleryError: the file is missing, damaged, or has another number of rows.
    """
    advice = "restore this file from a copy, or add the images again to a gallery in a new folder."
    if not path.is_file():
        raise GalleryError(f"{path} is missing, with {entry.rows} images of the gallery: {advice}")
    if file_checksum(path) != entry.checksum:
        raise GalleryError(f"{path} is damaged or truncated (its checksum is not the one in gallery.json): {advice}")
    rows = pa.ipc.open_stream(pa.memory_map(str(path))).read_next_batch()
    if len(rows) != entry.rows:
        raise GalleryError(f"{path} has {len(rows)} rows where gallery.json says {entry.rows}: {advice}")
    return rows
