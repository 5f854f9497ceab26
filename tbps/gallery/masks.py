"""Which rows of a shard meet a filter, column by column."""

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tbps.gallery.filters import Filter


def mask(filter: Filter, column: Callable[[str], pa.Array], rows: int) -> np.ndarray:
    """
    The rows (N,) bool that meet a filter.

    Args:
        column: gives a field of all `rows` rows by its name; only those that the filter speaks of are read.
    """
    chosen = np.ones(rows, bool)
    for name, values in (("camera", filter.cameras), ("source", filter.sources)):
        if values is not None:
            chosen &= _true(pc.is_in(column(name), value_set=pa.array(values, pa.string())))
    if filter.begin is not None:
        chosen &= _true(pc.greater_equal(column("timestamp"), filter.begin))
    if filter.end is not None:
        chosen &= _true(pc.less(column("timestamp"), filter.end))
    if filter.metadata:
        texts = column("metadata")
        for name in filter.metadata:  # parsing is slow: first leave out those that do not even hold the name
            chosen &= _true(pc.match_substring(texts, json.dumps(name)))
        places = np.flatnonzero(chosen)
        chosen[places] = [filter.fits(texts[place].as_py()) for place in places.tolist()]
    return chosen


def _true(found: pa.Array) -> np.ndarray:
    """A comparison's outcome as bool, where what is not known is False."""
    return pc.fill_null(found, False).to_numpy(zero_copy_only=False)
