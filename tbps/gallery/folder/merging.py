"""The plan for merging files: which files a commit merges, and how rows are divided among new files.

A log-structured merge that keeps the order of insertion. A file of n rows has level floor(log8 n). From 32,768 rows on
it is full and is not merged again. A commit merges its rows with the last files if those are of a lower level, or if
they would make eight files of one level. So levels never rise from one file to the next, and each of the five levels
below full has at most seven files. A rewritten row moves to a higher level, so it is written at most six times, unless
rows are removed.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from tbps.gallery.folder.manifest_entries import ShardEntry
from tbps.gallery.store import ROWS_PER_FILE

FAN_OUT = 8
FULL = 5  # the level of files that are not merged again
_MAX_MERGED = 10 * FAN_OUT**FULL  # rows merged at once: more than files from single commits ever hold


class RowRange(NamedTuple):
    """Consecutive rows of a source file, from `start` up to `stop`, counted without removed rows."""

    source: int
    start: int
    stop: int


def level_of(rows: int) -> int:
    """Return the level of a file with at least one row."""
    return min(FULL, (rows.bit_length() - 1) // 3)


def is_full(rows: int) -> bool:
    """Whether a file with this number of rows is not merged again."""
    return level_of(rows) == FULL


def needs_merging(sizes: Sequence[int]) -> bool:
    """Whether a level has more files than commits leave."""
    levels = [level_of(size) for size in sizes]
    return any(levels.count(level) >= FAN_OUT for level in range(FULL))


def files_to_merge(sizes: Sequence[int], new: int) -> int:
    """
    Count the last files that a commit merges with its rows.

    Args:
        sizes: the number of rows of each file, removed ones included, in order of insertion.
        new: the number of new rows.
    """
    taken, total = 0, new
    while taken < len(sizes):
        before = [level_of(size) for size in sizes[: len(sizes) - taken]]
        same = next((n for n, level in enumerate(reversed(before)) if level != level_of(total)), len(before))
        if before[-1] < level_of(total):
            more = 1
        elif same >= FAN_OUT - 1 and level_of(total) < FULL:
            more = FAN_OUT - 1
        else:
            break
        merged = sum(sizes[len(sizes) - taken - more : len(sizes) - taken])
        if total - new + merged > _MAX_MERGED:
            break
        taken, total = taken + more, total + merged
    return taken


def divide_rows(live: Sequence[int], size: int) -> list[list[RowRange]]:
    """
    Divide the rows of files among new files, in order of insertion.

    Args:
        live: the number of rows of each source file, without removed ones.
        size: the number of rows of a new file; the last may have fewer.

    Returns:
        For each new file its rows.
    """
    ends = list(accumulate(live))
    rows = ends[-1] if ends else 0
    return [
        [
            RowRange(source, max(0, first - (end - count)), min(count, first + size - (end - count)))
            for source, (end, count) in enumerate(zip(ends, live, strict=True))
            if end > first and end - count < first + size and count
        ]
        for first in range(0, rows, size)
    ]


def even_file_size(rows: int) -> int:
    """Return the number of rows of each new file if `rows` are divided evenly among as few files as possible."""
    return -(-rows // -(-rows // ROWS_PER_FILE))


def bytes_needed(parts: Sequence[Sequence[RowRange]], live: Sequence[int], sizes: Sequence[int]) -> int:
    """
    Compute the free disk space that rewriting needs. New files are written from the last to the first, and an old file
    is deleted as soon as all its rows are in new files.

    Args:
        parts: from `divide_rows`.
        live: the number of rows of each old file, without removed ones.
        sizes: the bytes of each old file.
    """
    extra = most = 0
    for part in reversed(parts):
        extra += sum(-(-sizes[source] * (stop - start) // live[source]) for source, start, stop in part)
        most = max(most, extra)
        extra -= sum(sizes[source] for source, start, _ in part if start == 0)
    return most


def entries_before(shards: Sequence[ShardEntry], first: RowRange) -> tuple[ShardEntry, ...]:
    """Return the entries of the rows before a range, with all later rows marked as removed."""
    before, entry = tuple(shards[: first.source]), shards[first.source]
    if not first.start:
        return before
    live = np.setdiff1d(np.arange(entry.rows), np.array(entry.removed, np.int64))
    return (*before, replace(entry, removed=tuple(sorted({*entry.removed, *live[first.start :].tolist()}))))
