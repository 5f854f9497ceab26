"""Shards: Arrow files of rows, read through a memory map. `datasets.Dataset.from_file` opens them too."""

from collections.abc import Sequence
from copy import copy
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from tbps.data.atomic_files import write_atomically
from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.checked_file import ADVICE, CheckedFile, block_checksums
from tbps.gallery.folder.int8 import ROW_NUMBERS, Codes, decoded, quantise
from tbps.gallery.folder.manifest_entries import Origin, ShardEntry
from tbps.gallery.folder.shard_file import (
    check_seal,
    checked_column,
    open_batch,
    schema,
    steps_of,
    to_bytes,
    with_origin,
)
from tbps.gallery.store import Dtype, Row
from tbps.gallery.vectors import as_stored

_FIELDS = tuple(field.name for field in fields(Row))


def make_batch(rows: Sequence[Row], vectors: np.ndarray, origin: Origin,
               steps: np.ndarray | None = None) -> pa.RecordBatch:  # fmt: skip
    """
    Build the columns of a shard from N rows and their vectors (N, E) float32.

    The column `code` holds 8-bit codes of the vectors, with the scale and the error bounds of each row (see `Codes`).
    The column `embedding` holds the vectors; an int8 gallery has no such column.

    Args:
        rows: the rows.
        vectors: their vectors.
        origin: the origin of the gallery.
        steps: the quantisation steps (E,); None learns them. An int8 gallery uses the steps of its first file, so that
            codes can be copied unchanged from file to file.

    Raises:
        GalleryError: a vector cannot be stored.
    """
    dtype = origin.layout.dtype
    stored = as_stored(rows, vectors, dtype)
    # of the stored vectors, for which the bounds must hold
    codes = encode(stored.astype(np.float32, copy=False), dtype, steps)
    columns = {name: [getattr(row, name) for row in rows] for name in Row.__dataclass_fields__} | code_columns(codes)
    if dtype != "int8":
        columns["embedding"] = _lists(stored)
    return with_origin(pa.record_batch(columns, schema=schema(origin.layout)), codes.steps, origin)


def encode(vectors: np.ndarray, dtype: Dtype, steps: np.ndarray | None = None) -> Codes:
    """Encode vectors (N, E) float32. In an int8 gallery the codes replace the vectors."""
    codes = quantise(vectors, steps)
    return codes.instead_of_vectors() if dtype == "int8" else codes


def code_columns(codes: Codes) -> dict[str, pa.Array]:
    """Return the columns of codes, without the steps that all rows share."""
    return {"code": _lists(codes.numbers), **{name: pa.array(getattr(codes, name)) for name in ROW_NUMBERS}}


def vectors_of(batch: pa.RecordBatch) -> np.ndarray:
    """Return the stored vectors (N, E) float32 of a batch."""
    name = "embedding" if "embedding" in batch.schema.names else "code"
    stored = batch[name].flatten().to_numpy().reshape(len(batch), -1)
    if name == "embedding":
        return stored.astype(np.float32, copy=False)
    return decoded(stored, batch["scale"].to_numpy(), steps_of(batch))


def write_batch(path: Path, batch: pa.RecordBatch) -> ShardEntry:
    """Write a shard atomically."""
    data = to_bytes(batch, path.name)
    # of the bytes in memory, not of the file, so that errors of the disk are detected too
    entry = ShardEntry(path.name, len(batch), len(data), block_checksums(data))
    write_atomically(path, data)
    return entry


def _mask(rows: int, positions: Sequence[int]) -> np.ndarray:
    mask = np.zeros(rows, bool)
    mask[list(positions)] = True
    return mask


def _lists(matrix: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])


class Shard:
    """A memory-mapped shard. All bytes are verified before they are read.

    Args:
        directory: the gallery's folder.
        entry: the shard's entry in the manifest.
        origin: the origin of the gallery.

    Raises:
        GalleryError: the file is missing, damaged, or differs from what the manifest states.
    """

    def __init__(self, directory: Path, entry: ShardEntry, origin: Origin) -> None:
        self._file = CheckedFile(directory / entry.file, entry.size, entry.checksums)
        self._rows = open_batch(self._file, entry.rows, origin)
        self._verified: dict[str, pa.Array] = {}
        self.steps: np.ndarray = steps_of(self._rows)  # (E,)
        self.removed = _mask(entry.rows, entry.removed)

    def __len__(self) -> int:
        return len(self._rows)

    def without(self, removed: Sequence[int]) -> "Shard":
        """Return the same shard with the rows at these positions removed. Verified bytes stay verified."""
        other = copy(self)
        other.removed = _mask(len(self), removed)
        return other

    def column(self, name: str) -> pa.Array:
        """Return a field of all rows."""
        if name not in self._verified:
            self._verified[name] = checked_column(self._file, self._rows, name)
        return self._verified[name]

    @cached_property
    def codes(self) -> torch.Tensor:
        """The codes (N, E) int8, in the file's memory."""
        return torch.from_numpy(self._matrix("code", np.int8))

    def row_numbers(self, name: str) -> torch.Tensor:
        """Return one of `ROW_NUMBERS`, (N,) float32, in the file's memory."""
        return torch.from_numpy(self._numbers(name, np.float32, len(self)))

    @cached_property
    def _stored(self) -> np.ndarray | None:
        if "embedding" not in self._rows.schema.names:
            return None
        half = self._rows.schema.field("embedding").type.value_type == pa.float16()
        return self._matrix("embedding", np.float16 if half else np.float32)

    def _matrix(self, name: str, dtype: type) -> np.ndarray:
        return self._numbers(name, dtype, len(self) * len(self.steps)).reshape(len(self), -1)

    def _numbers(self, name: str, dtype: type, count: int) -> np.ndarray:
        column = self.column(name)
        buffer = (column.values if pa.types.is_fixed_size_list(column.type) else column).buffers()[1]
        return np.frombuffer(self._file.bytes, dtype, count, self._file.offset(buffer))

    def vectors(self, positions: np.ndarray | slice) -> np.ndarray:
        """Return the vectors (n, E) float32 at some positions."""
        if self._stored is None:
            scales = self.row_numbers("scale").numpy()[positions]
            return self._finite(decoded(self.codes.numpy()[positions], scales, self.steps))
        return self._finite(self._stored[positions].astype(np.float32, copy=False))

    def _finite(self, vectors: np.ndarray) -> np.ndarray:
        if not np.isfinite(vectors).all():  # all were finite when they were written
            raise GalleryError(f"{self._file.path} is damaged (a vector is not finite): {ADVICE}")
        return vectors

    def batch(self, positions: np.ndarray) -> pa.RecordBatch:
        """Return all columns of the rows at some positions."""
        columns = {name: self.column(name) for name in self._rows.schema.names}
        return pa.record_batch(columns).replace_schema_metadata(self._rows.schema.metadata).take(pa.array(positions))

    def row(self, position: int) -> Row:
        """Return the row at a position."""
        return Row(*[self.column(name)[position].as_py() for name in _FIELDS])

    def rows(self, positions: np.ndarray) -> list[Row]:
        """Return the rows at some positions."""
        columns = (self.column(name).take(pa.array(positions)).to_pylist() for name in _FIELDS)
        return [Row(*values) for values in zip(*columns, strict=True)]

    def fields(self, columns: Sequence[str], positions: np.ndarray) -> list[dict[str, Any]]:
        """Return some fields of the rows at some positions."""
        taken = (self.column(name).take(pa.array(positions)).to_pylist() for name in columns)
        return [dict(zip(columns, values, strict=True)) for values in zip(*taken, strict=True)]

    def verify(self) -> None:
        """
        Read the complete file and check all columns.

        Raises:
            GalleryError: it is damaged.
        """
        self._file.verify()
        check_seal(self._file)
        for name in self._rows.schema.names:
            self.column(name)
