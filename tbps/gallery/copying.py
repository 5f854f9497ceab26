"""Rows copied from file to file, column by column: what was rounded once is not rounded again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tbps.gallery.errors import GalleryError
from tbps.gallery.home import Row
from tbps.gallery.manifest import Origin
from tbps.gallery.merging import Piece
from tbps.gallery.shard_file import described, schema, steps_of
from tbps.gallery.shards import Shard, code_columns, codes_of, vectors_of


@dataclass(frozen=True)
class Source:
    """Rows to copy from: of a batch, or those of a shard that are there."""

    rows: Shard | pa.RecordBatch

    def __len__(self) -> int:
        return len(self.rows) if isinstance(self.rows, pa.RecordBatch) else len(self._places())

    def _places(self) -> np.ndarray:
        return np.flatnonzero(~self.rows.removed)

    def batch(self, start: int, stop: int) -> pa.RecordBatch:
        """All columns of some rows."""
        if isinstance(self.rows, pa.RecordBatch):
            return self.rows.slice(start, stop - start)
        return self.rows.batch(self._places()[start:stop])


def joined(sources: Sequence[Source], part: Sequence[Piece], origin: Origin) -> pa.RecordBatch:
    """The rows of some pieces, in their order."""
    return join([sources[piece.source].batch(piece.start, piece.stop) for piece in part], origin)


def join(batches: Sequence[pa.RecordBatch], origin: Origin) -> pa.RecordBatch:
    """
    Batches put together. Of int8 the codes stay as they are; beside whole vectors they are made again, with steps that
    fit all of them.

    Raises:
        GalleryError: what is kept besides the vectors is more than one file can hold.
    """
    if len(batches) == 1:
        return batches[0]
    steps = steps_of(batches[0]) if origin.layout.dtype == "int8" else None
    if steps is not None:
        batches = [one if (steps_of(one) == steps).all() else _coded(one, origin, steps) for one in batches]
    plain = [batch.replace_schema_metadata(None) for batch in batches]
    try:
        [whole] = pa.Table.from_batches(plain).combine_chunks().to_batches()
    except (ValueError, pa.ArrowException) as error:  # a column of 2 GiB
        raise GalleryError(f"{sum(map(len, batches))} rows do not fit into one file: choose fewer a file.") from error
    return _coded(whole, origin) if steps is None else described(whole, steps, origin)


def _coded(batch: pa.RecordBatch, origin: Origin, steps: np.ndarray | None = None) -> pa.RecordBatch:
    """The batch with new codes of its vectors, by given steps or by steps of its own."""
    codes = codes_of(vectors_of(batch), origin.layout.dtype, steps)
    columns = dict(zip(batch.schema.names, batch.columns, strict=True)) | code_columns(codes)
    return described(pa.record_batch(columns, schema=schema(origin.layout)), codes.steps, origin)


def with_rows(batch: pa.RecordBatch, rows: Sequence[Row]) -> pa.RecordBatch:
    """The batch with other rows in the place of its own; the vectors stay."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    columns |= {name: [getattr(row, name) for row in rows] for name in Row.__dataclass_fields__}
    return pa.record_batch(columns, schema=batch.schema)
