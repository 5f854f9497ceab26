"""Filters as masks over the rows of a shard."""

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tbps.gallery.filters import Filter
from tbps.gallery.metadata import parsed
from tbps.gallery.paths import separator

Column = Callable[[str], pa.Array]


def mask(filter: Filter, column: Column, rows: int) -> np.ndarray:
    """
    Return the rows (N,) bool that meet a filter.

    Args:
        filter: the filter.
        column: returns a field of all N rows by its name. Only fields that the filter mentions are read.
        rows: N, the number of rows.
    """
    return _narrow(filter, column, np.ones(rows, bool))


def _narrow(filter: Filter, column: Column, among: np.ndarray) -> np.ndarray:
    """Return the rows that meet a filter, out of those in `among`. Slow checks are made for undecided rows only."""
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
    """Apply the conditions on fields that have a column."""
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
    """Apply the conditions on metadata."""
    chosen = among.copy()
    for condition in filter.conditions:  # parsing is slow: first drop rows whose text does not contain the name
        chosen &= _true(pc.match_substring(texts, json.dumps(condition.name)))
    positions = np.flatnonzero(chosen)
    for position, text in zip(positions.tolist(), texts.take(pa.array(positions)).to_pylist(), strict=True):
        metadata = parsed(text)
        chosen[position] = all(condition.is_met_by(metadata) for condition in filter.conditions)
    return chosen


def _true(found: pa.Array) -> np.ndarray:
    """Convert the result of a comparison to bool; a missing value counts as False."""
    return pc.fill_null(found, False).to_numpy(zero_copy_only=False)
