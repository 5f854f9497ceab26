"""Copying rows from file to file, column by column. A vector that was rounded once is not rounded again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.manifest_entries import Origin
from tbps.gallery.folder.merging import RowRange
from tbps.gallery.folder.shard_file import schema, steps_of, with_origin
from tbps.gallery.folder.shards import Shard, code_columns, encode, vectors_of
from tbps.gallery.store import Row


@dataclass(frozen=True)
class RowSource:
    """Rows to copy: those of a batch, or those of a shard that were not removed."""

    rows: Shard | pa.RecordBatch

    def __len__(self) -> int:
        return len(self.rows) if isinstance(self.rows, pa.RecordBatch) else len(self._positions())

    def _positions(self) -> np.ndarray:
        return np.flatnonzero(~self.rows.removed)

    def batch(self, start: int, stop: int) -> pa.RecordBatch:
        """Return all columns of the rows from `start` up to `stop`."""
        if isinstance(self.rows, pa.RecordBatch):
            return self.rows.slice(start, stop - start)
        return self.rows.batch(self._positions()[start:stop])


def copy_ranges(sources: Sequence[RowSource], part: Sequence[RowRange], origin: Origin) -> pa.RecordBatch:
    """Concatenate ranges of rows."""
    return concatenate([sources[rows.source].batch(rows.start, rows.stop) for rows in part], origin)


def concatenate(batches: Sequence[pa.RecordBatch], origin: Origin) -> pa.RecordBatch:
    """
    Concatenate batches.

    The codes of an int8 gallery stay as they are. In other galleries all vectors are encoded again, with steps learnt
    from all of them.

    Raises:
        GalleryError: a column is larger than one file can hold.
    """
    if len(batches) == 1:
        return batches[0]
    steps = steps_of(batches[0]) if origin.layout.dtype == "int8" else None
    if steps is not None:
        batches = [one if (steps_of(one) == steps).all() else _encoded(one, origin, steps) for one in batches]
    plain = [batch.replace_schema_metadata(None) for batch in batches]
    try:
        [joined] = pa.Table.from_batches(plain).combine_chunks().to_batches()
    except (ValueError, pa.ArrowException) as error:  # a column of 2 GiB
        raise GalleryError(f"{sum(map(len, batches))} rows do not fit into one file: choose fewer per file.") from error
    return _encoded(joined, origin) if steps is None else with_origin(joined, steps, origin)


def _encoded(batch: pa.RecordBatch, origin: Origin, steps: np.ndarray | None = None) -> pa.RecordBatch:
    """Encode the vectors of a batch again, with the given steps or with steps learnt from them."""
    codes = encode(vectors_of(batch), origin.layout.dtype, steps)
    columns = dict(zip(batch.schema.names, batch.columns, strict=True)) | code_columns(codes)
    return with_origin(pa.record_batch(columns, schema=schema(origin.layout)), codes.steps, origin)


def with_rows(batch: pa.RecordBatch, rows: Sequence[Row]) -> pa.RecordBatch:
    """Replace the rows of a batch and keep the vectors."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns |= {name: [getattr(row, name) for row in rows] for name in Row.__dataclass_fields__}
    return pa.record_batch(columns, schema=batch.schema)
