"""Filters: what they mean, on one row after the other and on columns."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.fingerprint import ModelIdentity
from tbps.gallery.filters import Filter
from tbps.gallery.home import Wanted
from tbps.gallery.manifest import Layout
from tbps.gallery.rows import make_row
from tbps.gallery.store import Store

SCALARS = st.sampled_from(["1", 1, 1.0, True, False, 0, "a\"b'", "ä", ""])
METADATA = st.fixed_dictionaries(
    {},
    optional={"camera": st.sampled_from([1, "1", "2", 3]), "source": st.sampled_from(["a", "b"]),
              "timestamp": st.sampled_from([0, 10.5, 20]), "x": SCALARS, "y": SCALARS, "note": st.just("x: 1")},
)  # fmt: skip
FILTERS = st.builds(
    Filter,
    camera=st.sampled_from([None, 1, "2", [1, 3], []]),
    source=st.sampled_from([None, "a", ["a", "b"]]),
    since=st.sampled_from([None, 0, 10.5]),
    until=st.sampled_from([None, 10.5, 20]),
    metadata=st.dictionaries(st.sampled_from(["x", "y"]), SCALARS),
)


def fits(filter, metadata):
    """The slow reference."""
    for name, asked in (("camera", filter.camera), ("source", filter.source)):
        several = asked if isinstance(asked, list) else [asked]
        if asked is not None and (name not in metadata or str(metadata[name]) not in map(str, several)):
            return False
    when = metadata.get("timestamp")
    if filter.since is not None and (when is None or when < filter.since):
        return False
    if filter.until is not None and (when is None or when >= filter.until):
        return False
    return all(
        name in metadata and metadata[name] == value and (type(metadata[name]) is bool) == (type(value) is bool)
        for name, value in filter.metadata.items()
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(METADATA, min_size=1, max_size=12), st.lists(FILTERS, min_size=1, max_size=5))
def test_a_filtered_search_finds_all_rows_that_fit_and_no_others(tmp_path_factory, rows, filters):
    store = Store.open(tmp_path_factory.mktemp("store") / "s", ModelIdentity("m", "f", 4), Layout("float32", 2, 1, 2))
    vectors = np.random.default_rng(0).standard_normal((len(rows), 4)).astype(np.float32)
    with store.writing():
        store.append([make_row(str(n), None, metadata) for n, metadata in enumerate(rows)], vectors)
    for filter in filters:
        found = store.search(vectors[:1], Wanted(len(rows), filter=filter))[0]
        expected = [n for n in np.argsort(-(vectors @ vectors[0]), kind="stable") if fits(filter, rows[n])]
        assert [int(one.row.id) for one in found] == expected


def test_times_are_the_same_moment_however_they_are_written():
    here = datetime(2026, 5, 1, 14, 30, tzinfo=timezone(timedelta(hours=2)))
    for moment in (here, here.isoformat(), "2026-05-01T12:30:00Z", "2026-05-01 12:30", here.timestamp()):
        assert Filter(since=moment).begin == datetime(2026, 5, 1, 12, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"since": "yesterday"}, ValueError, "since='yesterday' is no time: expected ISO 8601"),
        ({"until": True}, TypeError, "until=True"),
        ({"until": float("nan")}, ValueError, "until=nan"),
        ({"camera": [None]}, TypeError, "camera=None"),
        ({"metadata": {"x": [1]}}, TypeError, r"'x'=\[1\]"),
        ({"metadata": {"x": "\udcff"}}, ValueError, "no Unicode text"),
        ({"camera": ["a", "\udcff"]}, ValueError, "no Unicode text"),
    ],
)
def test_refuses_what_no_row_could_meet(options, error, match):
    with pytest.raises(error, match=match):
        Filter(**options)
