"""Which rows of a shard meet a filter, column by column."""

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
