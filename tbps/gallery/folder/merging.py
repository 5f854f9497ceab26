"""Which files of a gallery are joined as commits come, and how rows are shared out among files.

A log-structured merge that keeps the order of insertion: a file of n rows is of tier floor(log8 n), from 32,768 rows on
it is full and left alone. New rows are written together with the last files where those are of a lower tier, or where
they would be the eighth file of their tier. So the tiers never rise from one file to the next, and there are at most
seven files of each of the five tiers besides the full ones; and a row that is written again is of a higher tier
afterwards, so that it is written at most six times (where none is removed).

Rows copied from file to file, column by column: what was rounded once is not rounded again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.manifest import Origin, ShardEntry
from tbps.gallery.folder.shard_file import described, schema, steps_of
from tbps.gallery.folder.shards import Shard, code_columns, codes_of, vectors_of
from tbps.gallery.store import ROWS_PER_FILE, Row

FAN_OUT = 8
FULL = 5  # the tier of files that are not joined any more
_MOST = 10 * FAN_OUT**FULL  # rows joined at once: more than files that came commit by commit ever hold


class Piece(NamedTuple):
    """Rows of a file that are there: of which file, the first of them and the one after the last, as counted without
    those that were removed."""

    source: int
    start: int
    stop: int


def tier(rows: int) -> int:
    """The tier of a file of some rows, at least 1."""
    return min(FULL, (rows.bit_length() - 1) // 3)


def is_full(rows: int) -> bool:
    """Whether a file of some rows is left alone."""
    return tier(rows) == FULL


def crowded(sizes: Sequence[int]) -> bool:
    """Whether there are more files of a tier than commits leave."""
    levels = [tier(size) for size in sizes]
    return any(levels.count(level) >= FAN_OUT for level in range(FULL))


def due(sizes: Sequence[int], new: int) -> int:
    """
    How many of the last files are to be joined with new rows.

    Args:
        sizes: rows of each file, those that were removed too, in order of insertion. new: the number of new rows.
    """
    taken, total = 0, new
    while taken < len(sizes):
        before = [tier(size) for size in sizes[: len(sizes) - taken]]
        alike = next((n for n, level in enumerate(reversed(before)) if level != tier(total)), len(before))
        if before[-1] < tier(total):
            more = 1
        elif alike >= FAN_OUT - 1 and tier(total) < FULL:
            more = FAN_OUT - 1
        else:
            break
        joined = sum(sizes[len(sizes) - taken - more : len(sizes) - taken])
        if total - new + joined > _MOST:
            break
        taken, total = taken + more, total + joined
    return taken


def portions(kept: Sequence[int], size: int) -> list[list[Piece]]:
    """
    What goes into each new file, in order of insertion.

    Args:
        kept: rows of each file that are there. size: of a new file; the last may be smaller.
    """
    ends = list(accumulate(kept))
    rows = ends[-1] if ends else 0
    return [
        [
            Piece(source, max(0, first - (end - count)), min(count, first + size - (end - count)))
            for source, (end, count) in enumerate(zip(ends, kept, strict=True))
            if end > first and end - count < first + size and count
        ]
        for first in range(0, rows, size)
    ]


def even_size(rows: int) -> int:
    """The rows of each new file where `rows` are shared out evenly among as few as there can be."""
    return -(-rows // -(-rows // ROWS_PER_FILE))


def room_needed(parts: Sequence[Sequence[Piece]], kept: Sequence[int], sizes: Sequence[int]) -> int:
    """
    The bytes needed beside what is there while new files are written, the last one first, and each old file is deleted
    when all its rows are in new ones.

    Args:
        parts: of `portions`. kept: rows of each old file that are there. sizes: its bytes.
    """
    beside = most = 0
    for part in reversed(parts):
        beside += sum(-(-sizes[source] * (stop - start) // kept[source]) for source, start, stop in part)
        most = max(most, beside)
        beside -= sum(sizes[source] for source, start, _ in part if start == 0)
    return most


def moved(shards: Sequence[ShardEntry], first: Piece) -> tuple[ShardEntry, ...]:
    """What is left of shards once their rows from the first one of a piece on are elsewhere."""
    before, entry = tuple(shards[: first.source]), shards[first.source]
    if not first.start:
        return before
    kept = np.setdiff1d(np.arange(entry.rows), np.array(entry.removed, np.int64))
    return (*before, replace(entry, removed=tuple(sorted({*entry.removed, *kept[first.start :].tolist()}))))


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
