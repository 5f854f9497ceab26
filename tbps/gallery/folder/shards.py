"""One commit of rows as an Arrow file, read through a memory map (`datasets.Dataset.from_file` opens it too).

Which rows of a shard meet a filter, column by column.
"""

import json
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from tbps.data.atomic_files import write_atomically
from tbps.gallery.checks import GalleryError
from tbps.gallery.filters import Filter
from tbps.gallery.folder.checked_file import ADVICE, CheckedFile, block_checksums
from tbps.gallery.folder.int8 import ROW_NUMBERS, Codes, decoded, quantise
from tbps.gallery.folder.manifest import Origin, ShardEntry
from tbps.gallery.folder.shard_file import (
    check_seal,
    checked_column,
    described,
    open_batch,
    schema,
    steps_of,
    stream_of,
)
from tbps.gallery.metadata import parsed
from tbps.gallery.paths import separator
from tbps.gallery.store import Dtype, Row
from tbps.gallery.vectors import as_stored

_FIELDS = tuple(field.name for field in fields(Row))


def make_batch(rows: Sequence[Row], vectors: np.ndarray, origin: Origin,
               steps: np.ndarray | None = None) -> pa.RecordBatch:  # fmt: skip
    """
    N rows and their vectors (N, E) float32 as the columns of a shard.

    The column `code` holds 8-bit codes of the vectors, beside what a row's code is multiplied by and bounds on what it
    loses (see `Codes`); `embedding` holds the vectors, unless they are kept as codes alone.

    Args:
        origin: of the gallery.
        steps: of the codes, those of the gallery's first file where codes are all that is kept: then a code is copied
            from file to file as it is. None learns them.

    Raises:
        GalleryError: a vector that cannot be kept.
    """
    dtype = origin.layout.dtype
    stored = as_stored(rows, vectors, dtype)
    # of what is stored: the bound must hold for that
    codes = codes_of(stored.astype(np.float32, copy=False), dtype, steps)
    columns = {name: [getattr(row, name) for row in rows] for name in Row.__dataclass_fields__} | code_columns(codes)
    if dtype != "int8":
        columns["embedding"] = _lists(stored)
    return described(pa.record_batch(columns, schema=schema(origin.layout)), codes.steps, origin)


def codes_of(vectors: np.ndarray, dtype: Dtype, steps: np.ndarray | None = None) -> Codes:
    """The codes of vectors (N, E) float32, which are themselves the vectors where nothing else is kept of them."""
    codes = quantise(vectors, steps)
    return codes.instead_of_vectors() if dtype == "int8" else codes


def code_columns(codes: Codes) -> dict[str, pa.Array]:
    """The columns of codes, without the steps that all rows share."""
    return {"code": _lists(codes.numbers), **{name: pa.array(getattr(codes, name)) for name in ROW_NUMBERS}}


def vectors_of(batch: pa.RecordBatch) -> np.ndarray:
    """The vectors (N, E) float32 of a shard's columns, as they are stored."""
    name = "embedding" if "embedding" in batch.schema.names else "code"
    stored = batch[name].flatten().to_numpy().reshape(len(batch), -1)
    if name == "embedding":
        return stored.astype(np.float32, copy=False)
    return decoded(stored, batch["scale"].to_numpy(), steps_of(batch))


def write_batch(path: Path, batch: pa.RecordBatch) -> ShardEntry:
    """Write a shard's columns in one step."""
    data = stream_of(batch, path.name)
    # of the bytes in memory, not of the file: what the disk garbles is noticed too
    entry = ShardEntry(path.name, len(batch), len(data), block_checksums(data))
    write_atomically(path, data)
    return entry


def _marked(rows: int, places: Sequence[int]) -> np.ndarray:
    marked = np.zeros(rows, bool)
    marked[list(places)] = True
    return marked


def _lists(matrix: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])


class Shard:
    """A shard under a memory map. What is read of it has been verified.

    Raises:
        GalleryError: the file is missing, damaged where it is read, or has other rows than the manifest says.
    """

    def __init__(self, directory: Path, entry: ShardEntry, origin: Origin) -> None:
        self._file = CheckedFile(directory / entry.file, entry.size, entry.checksums)
        self._rows = open_batch(self._file, entry.rows, origin)
        self._verified: dict[str, pa.Array] = {}
        self.steps: np.ndarray = steps_of(self._rows)  # (E,)
        self.removed = _marked(entry.rows, entry.removed)

    def __len__(self) -> int:
        return len(self._rows)

    def without(self, removed: Sequence[int]) -> "Shard":
        """The same file with the rows at these places removed; what was verified of it stays verified."""
        other = copy(self)
        other.removed = _marked(len(self), removed)
        return other

    def column(self, name: str) -> pa.Array:
        """A field of all rows."""
        if name not in self._verified:
            self._verified[name] = checked_column(self._file, self._rows, name)
        return self._verified[name]

    @cached_property
    def codes(self) -> torch.Tensor:
        """(N, E) int8, in the file's memory."""
        return torch.from_numpy(self._matrix("code", np.int8))

    def of_codes(self, name: str) -> torch.Tensor:
        """(N,) float32, one of `ROW_NUMBERS`, in the file's memory."""
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

    def vectors(self, places: np.ndarray | slice) -> np.ndarray:
        """(n, E) float32 of the rows at some places."""
        if self._stored is None:
            return self._finite(decoded(self.codes.numpy()[places], self.of_codes("scale").numpy()[places], self.steps))
        return self._finite(self._stored[places].astype(np.float32, copy=False))

    def _finite(self, vectors: np.ndarray) -> np.ndarray:
        if not np.isfinite(vectors).all():  # none was when it was written
            raise GalleryError(f"{self._file.path} is damaged (a vector is not finite): {ADVICE}")
        return vectors

    def batch(self, places: np.ndarray) -> pa.RecordBatch:
        """All columns of the rows at some places."""
        columns = {name: self.column(name) for name in self._rows.schema.names}
        return pa.record_batch(columns).replace_schema_metadata(self._rows.schema.metadata).take(pa.array(places))

    def row(self, place: int) -> Row:
        """The row at 0 <= place < N."""
        return Row(*[self.column(name)[place].as_py() for name in _FIELDS])

    def rows(self, places: np.ndarray) -> list[Row]:
        """The rows at some places."""
        columns = (self.column(name).take(pa.array(places)).to_pylist() for name in _FIELDS)
        return [Row(*values) for values in zip(*columns, strict=True)]

    def fields(self, columns: Sequence[str], places: np.ndarray) -> list[dict[str, Any]]:
        """Some fields of the rows at some places."""
        taken = (self.column(name).take(pa.array(places)).to_pylist() for name in columns)
        return [dict(zip(columns, values, strict=True)) for values in zip(*taken, strict=True)]

    def verify(self) -> None:
        """
        Read all of the file, and check all of its columns.

        Raises:
            GalleryError: it is damaged.
        """
        self._file.verify()
        check_seal(self._file)
        for name in self._rows.schema.names:
            self.column(name)


Column = Callable[[str], pa.Array]


def mask(filter: Filter, column: Column, rows: int) -> np.ndarray:
    """
    The rows (N,) bool that meet a filter.

    Args:
        column: gives a field of all `rows` rows by its name; only those that the filter speaks of are read.
    """
    return _narrow(filter, column, np.ones(rows, bool))


def _narrow(filter: Filter, column: Column, among: np.ndarray) -> np.ndarray:
    """Those of some rows that meet a filter; what is slow is only looked up for rows that are still in question."""
    chosen = _typed(filter, column, among)
    if filter.conditions:
        chosen = _with_metadata(filter, column("metadata"), chosen)
    for part in filter.all_of:
        chosen = _narrow(part, column, chosen)
    if filter.any_of is not None:
        found = np.zeros_like(chosen)
        for part in filter.any_of:
            found |= _narrow(part, column, chosen & ~found)
        chosen = found
    for part in filter.none_of:
        chosen = chosen & ~_narrow(part, column, chosen)
    return chosen


def _typed(filter: Filter, column: Column, among: np.ndarray) -> np.ndarray:
    """By the fields that are columns."""
    chosen = among.copy()
    for name, values in (("camera", filter.cameras), ("source", filter.sources)):
        if values is not None:
            chosen &= _true(pc.is_in(column(name), value_set=pa.array(values, pa.string())))
    if filter.begin is not None:
        chosen &= _true(pc.greater_equal(column("timestamp"), filter.begin))
    if filter.end is not None:
        chosen &= _true(pc.less(column("timestamp"), filter.end))
    if filter.paths is not None:
        paths = column("path")
        below = _true(pc.is_in(paths, value_set=pa.array(filter.paths, pa.string())))
        for path in filter.paths:
            below |= _true(pc.starts_with(paths, path.rstrip("/") + separator(path)))
        chosen &= below
    return chosen


def _with_metadata(filter: Filter, texts: pa.Array, among: np.ndarray) -> np.ndarray:
    chosen = among.copy()
    for condition in filter.conditions:  # parsing is slow: first leave out those that do not even hold the name
        chosen &= _true(pc.match_substring(texts, json.dumps(condition.name)))
    places = np.flatnonzero(chosen)
    for place, text in zip(places.tolist(), texts.take(pa.array(places)).to_pylist(), strict=True):
        metadata = parsed(text)
        chosen[place] = all(condition.fits(metadata) for condition in filter.conditions)
    return chosen


def _true(found: pa.Array) -> np.ndarray:
    """A comparison's outcome as bool, where what is not known is False."""
    return pc.fill_null(found, False).to_numpy(zero_copy_only=False)
