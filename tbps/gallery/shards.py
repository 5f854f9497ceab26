"""One commit of rows as an Arrow file, read through a memory map (`datasets.Dataset.from_file` opens it too)."""

from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from tbps.files import write_atomically
from tbps.gallery.blocks import ADVICE, BLOCK, CheckedFile, block_checksums
from tbps.gallery.codes import quantise
from tbps.gallery.errors import GalleryError
from tbps.gallery.home import Row
from tbps.gallery.manifest import Dtype, ShardEntry

_TYPES = {"timestamp": pa.float64(), "thumbnail": pa.binary()}  # of a row's fields that are no text
_STEPS, _SLACK, _REACH = b"tbps.steps", b"tbps.slack", b"tbps.reach"


def write_shard(path: Path, rows: Sequence[Row], vectors: np.ndarray, dtype: Dtype) -> ShardEntry:
    """
    Write N rows and their vectors (N, E) float32 in one step.

    The column `code` holds 8-bit codes of the vectors; `embedding` the vectors, unless they are kept as codes alone.
    """
    stored = vectors.astype(np.float16 if dtype == "float16" else np.float32)
    codes = quantise(stored.astype(np.float32))  # of what is stored: the bound must hold for that
    columns = {
        field.name: pa.array([getattr(row, field.name) for row in rows], _TYPES.get(field.name, pa.string()))
        for field in fields(Row)
    }
    columns["code"] = _lists(codes.numbers)
    if dtype != "int8":
        columns["embedding"] = _lists(stored)
    slack = 0.0 if dtype == "int8" else codes.slack
    batch = pa.record_batch(columns).replace_schema_metadata(
        {_STEPS: codes.steps.tobytes(), _SLACK: repr(slack).encode(), _REACH: repr(codes.reach).encode()}
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    data = memoryview(sink.getvalue())
    # of the bytes in memory, not of the file: what the disk garbles is noticed too
    entry = ShardEntry(path.name, len(rows), len(data), block_checksums(data))
    write_atomically(path, data)
    return entry


def _lists(matrix: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])


class Shard:
    """A shard under a memory map. What is read of it has been verified.

    Raises:
        GalleryError: the file is missing, damaged where it is read, or has other rows than the manifest says.
    """

    def __init__(self, directory: Path, entry: ShardEntry) -> None:
        self._file = CheckedFile(directory / entry.file, entry.size, entry.checksums)
        self._file.verify(0, min(entry.size, BLOCK))  # of the first block Arrow learns where everything is
        self._rows = pa.ipc.open_stream(pa.BufferReader(self._file.arrow)).read_next_batch()
        if len(self._rows) != entry.rows:
            raise GalleryError(
                f"{directory / entry.file} has {len(self._rows)} rows where gallery.json says {entry.rows}: {ADVICE}"
            )
        self._verified: dict[str, pa.Array] = {}
        described = self._rows.schema.metadata
        self.steps: np.ndarray = np.frombuffer(described[_STEPS], np.float32)  # (E,)
        self.slack, self.reach = float(described[_SLACK]), float(described[_REACH])
        self.removed = np.zeros(entry.rows, bool)
        self.removed[list(entry.removed)] = True

    def __len__(self) -> int:
        return len(self._rows)

    def column(self, name: str) -> pa.Array:
        """A field of all rows."""
        if name not in self._verified:
            array = self._rows[name]
            self._file.verify_array(array)
            self._verified[name] = array
        return self._verified[name]

    @cached_property
    def codes(self) -> torch.Tensor:
        """(N, E) int8, in the file's memory; what the vectors are divided by is `steps`."""
        return torch.from_numpy(self._matrix("code", np.int8))

    @cached_property
    def _stored(self) -> np.ndarray | None:
        if "embedding" not in self._rows.schema.names:
            return None
        half = self._rows.schema.field("embedding").type.value_type == pa.float16()
        return self._matrix("embedding", np.float16 if half else np.float32)

    def _matrix(self, name: str, dtype: type) -> np.ndarray:
        buffer = self.column(name).values.buffers()[1]
        count, start = len(self) * len(self.steps), self._file.offset(buffer)
        flat: np.ndarray = np.frombuffer(self._file.bytes, dtype, count, start)
        return flat.reshape(len(self), -1)

    def vectors(self, places: np.ndarray | slice) -> np.ndarray:
        """(n, E) float32 of the rows at some places."""
        if self._stored is None:
            return self.codes.numpy()[places] * self.steps
        return self._stored[places].astype(np.float32, copy=False)

    def row(self, place: int) -> Row:
        """The row at 0 <= place < N."""
        return Row(**{field.name: self.column(field.name)[place].as_py() for field in fields(Row)})

    def rows(self, places: np.ndarray) -> list[Row]:
        """The rows at some places."""
        columns = (self.column(field.name).take(pa.array(places)).to_pylist() for field in fields(Row))
        return [Row(*values) for values in zip(*columns, strict=True)]

    def verify(self) -> None:
        """Read all of the file."""
        self._file.verify()
