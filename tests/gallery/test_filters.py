"""Filters: what they mean on columns, what they take, and what they refuse by name."""

import enum
import json
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from filter_oracle import IMAGES, filters, meets
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery import Gallery
from tbps.gallery.filters import Filter, filter_of
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.metadata import checked, make_row
from tbps.gallery.store import Layout, SearchRequest


@settings(max_examples=50, deadline=None)
@given(st.lists(IMAGES, min_size=1, max_size=12), st.lists(filters(), min_size=1, max_size=6))
def test_a_filter_is_met_by_all_rows_that_fit_and_no_others(tmp_path_factory, images, asked):
    store = FolderStore.open(
        tmp_path_factory.mktemp("store") / "s", ModelIdentity("m", "f", 4), Layout("float32", 2, 1, 2)
    )
    vectors = np.random.default_rng(0).standard_normal((len(images), 4)).astype(np.float32)
    rows = [make_row(str(n), path, checked("it", metadata)) for n, (path, metadata) in enumerate(images)]
    with store.writing():
        store.append(rows[:5], vectors[:5])
        if rows[5:]:
            store.append(rows[5:], vectors[5:])
            store.remove(["7"])
    for filter in asked:
        fit = [n for n, image in enumerate(images) if meets(filter, *image) and n != 7]
        found = store.search(vectors[:1], SearchRequest(len(images), filter=filter))[0]
        by_score = [n for n in np.argsort(-(vectors @ vectors[0]), kind="stable") if n in fit]
        assert [int(one.row.id) for one in found] == by_score
        assert store.count(filter) == len(fit)
        listed = [row for piece in store.iter_rows(["path", "id", "camera"], filter) for row in piece]
        assert listed == [{"path": rows[n].path, "id": str(n), "camera": rows[n].camera} for n in fit]
        if filter.is_empty:
            assert len(fit) == store.count()


@settings(max_examples=60, deadline=None)
@given(filters())
def test_a_filter_written_as_json_is_the_same_filter(filter):
    def described(one):
        own = {name: getattr(one, name) for name in ("camera", "source", "since", "until", "metadata", "path")}
        parts = {name: [described(part) for part in getattr(one, name) or ()] for name in ("all_of", "none_of")}
        parts |= {} if one.any_of is None else {"any_of": [described(part) for part in one.any_of]}
        own = {name: sorted(value) if isinstance(value, set) else value for name, value in own.items()}
        return {name: value for name, value in own.items() if value is not None} | parts

    again = filter_of(json.loads(json.dumps(described(filter))))
    for name in ("cameras", "sources", "begin", "end", "paths", "conditions", "depth", "is_empty"):
        assert getattr(again, name) == getattr(filter, name)


def test_times_are_the_same_moment_however_they_are_written():
    here = datetime(2026, 5, 1, 14, 30, tzinfo=timezone(timedelta(hours=2)))
    utc = here.astimezone(UTC)
    written = [here, here.isoformat(), "2026-05-01T12:30:00Z", "2026-05-01 12:30", here.timestamp(),
               utc.replace(tzinfo=None), np.datetime64("2026-05-01T12:30"), np.datetime64("2026-05-01T12:30", "ns"),
               np.float64(here.timestamp()), np.int64(here.timestamp())]  # fmt: skip
    for moment in written:
        assert Filter(since=moment).begin == here.timestamp()
        assert make_row("a", None, checked("it", {"timestamp": moment})).timestamp == here.timestamp()
    for day in (date(2026, 5, 1), np.datetime64("2026-05-01"), "2026-05-01", "20260501"):
        assert Filter(until=day).end == datetime(2026, 5, 1, tzinfo=UTC).timestamp()


@settings(max_examples=100, deadline=None)
@given(st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31)), st.sampled_from([1e3, 1e6, 1e9]))
def test_times_in_another_unit_are_refused_where_they_would_be_another_year(moment, unit):
    since_1970 = moment.replace(tzinfo=UTC).timestamp()
    assert Filter(since=moment).begin == pytest.approx(since_1970, abs=1e-3)
    if abs(since_1970) * unit > 7.3e9:
        for use in (lambda time: Filter(until=time), lambda time: checked("it", {"timestamp": time})):
            with pytest.raises(ValueError, match="seconds since 1970"):
                use(since_1970 * unit)


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31)),
    st.sampled_from(["%Y%m%d", "%Y%m%d%H%M", "%Y%m%d%H%M%S"]),
)
@settings(max_examples=60, deadline=None)
def test_dates_as_numbers_are_called_dates(moment, written):
    moment = datetime.strptime(moment.strftime(written), written)
    with pytest.raises(ValueError, match=f"looks like a date: write '{moment.isoformat()[:10]}"):
        Filter(since=int(moment.strftime(written)))


@pytest.mark.parametrize("moment", [datetime.max, datetime.min, "9999-12-31", "0001-01-01T00:00:00+14:00"])
def test_no_unit_is_guessed_of_what_is_written_as_a_time(moment):
    with pytest.raises(ValueError, match="expected a time between the years 1900 and 2200, of a camera's clock"):
        Filter(until=moment)


class Camera(enum.StrEnum):
    NORTH = "north"


EQUAL = [[3, 3.0, "3", np.int64(3), np.float32(3), np.uint8(3), np.str_("3"), 3 + 0.0], ["north", Camera.NORTH],
         [0, -0.0, "0"], [10**30, float(10**30), str(int(float(10**30)))][:1], [0.1, np.float64(0.1), "0.1"],
         [1e300, int(1e300)]]  # fmt: skip


@pytest.mark.parametrize("alike", EQUAL)
def test_equal_cameras_are_one_in_rows_and_filters(alike):
    texts = {Filter(camera=one).cameras[0] for one in alike}
    texts |= {make_row("a", None, checked("it", {"camera": one, "source": one})).camera for one in alike}
    texts |= {make_row("a", None, checked("it", {"camera": one, "source": one})).source for one in alike}
    assert len(texts) == 1
    assert Filter(camera=alike).cameras == [*texts] * len(alike)
    assert Filter(camera=np.array([3, 4])).cameras == ["3", "4"]


REFUSED_CAMERAS = [b"x", {"a": 1}, {}, [None], True, [False], [[1]], float("nan"), float("inf"), iter(["c1"]), object(),
                   bytearray(b"x"), 1j, [b"x"], np.bool_(True), 10**700, range(3)]  # fmt: skip


@pytest.mark.parametrize("value", REFUSED_CAMERAS, ids=lambda value: type(value).__name__)
def test_what_is_no_camera_is_refused_by_filters_and_rows(value):
    for name in ("camera", "source"):
        for use in (lambda name=name: Filter(**{name: value}), lambda name=name: checked("it", {name: value})):
            with pytest.raises((TypeError, ValueError), match=f"{name}|a value is a number|cannot be stored as JSON"):
                use()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"since": "yesterday"}, ValueError, "since='yesterday' is not a time: expected ISO 8601"),
        ({"until": True}, TypeError, "until=True"),
        ({"until": float("nan")}, ValueError, "until=nan"),
        ({"since": 1777645800000}, ValueError, "this looks like milliseconds: divide by 1e3"),
        ({"until": 10**4000}, ValueError, "until=inf: expected a finite number"),
        ({"since": 20260501}, ValueError, "looks like a date: write '2026-05-01'"),
        ({"since": np.datetime64("NaT")}, TypeError, "since="),
        ({"since": datetime.max}, ValueError, "between the years 1900 and 2200"),
        ({"since": datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))}, ValueError, "since="),
        ({"since": 5, "until": 4}, ValueError, "since=5 is after until=4: no image could meet it"),
        ({"since": "2026-05-02", "until": date(2026, 5, 1)}, ValueError, "is after until="),
        ({"camera": [None]}, TypeError, "camera=None"),
        ({"metadata": {"x": [[1]]}}, TypeError, r"'x'=\[1\]"),
        ({"metadata": {"x": None}}, TypeError, "'x'=None: expected text, a number or a boolean"),
        ({"metadata": {"x": float("nan")}}, ValueError, "'x'=nan: expected a finite number"),
        ({"metadata": {"x": 10**5000}}, ValueError, "'x' is a number of more than 640 digits"),
        ({"metadata": {"x": [object(), 10**5000]}}, TypeError, "'x'=<object"),
        ({"metadata": {1: 2}}, TypeError, "the name 1 is a int, expected text"),
        ({"metadata": {"x": {}}}, ValueError, "'x' has no bounds; expected a range as"),
        ({"metadata": {"x": {"=": 2}}}, ValueError, "'=' is not a comparison"),
        ({"metadata": {"x": {">=": True}}}, TypeError, ">= True: expected a number or text"),
        ({"metadata": {"x": {">=": 1, "<": "2"}}}, TypeError, "mixes a number and a text: both bounds"),
        ({"metadata": {"x": {">": 5, "<=": 2.5}}}, ValueError, "'x'=.* ends before it begins"),
        ({"metadata": {"x": {">=": "b", "<": "a"}}}, ValueError, "'x'=.* ends before it begins"),
        ({"metadata": {"x": {">=": [1]}}}, TypeError, r">=\=\[1\]|expected text, a number"),
        ({"metadata": "floor=2"}, TypeError, "metadata='floor=2': expected a dict"),
        ({"metadata": [("floor", 2)]}, TypeError, "metadata=.*: expected a dict"),
        ({"metadata": None}, TypeError, "metadata=None: expected a dict"),
        ({"metadata": {"x": "\udcff"}}, ValueError, "not Unicode text"),
        ({"metadata": {"\udcff": "x"}}, ValueError, "not Unicode text"),
        ({"camera": ["a", "\udcff"]}, ValueError, "not Unicode text"),
        ({"path": ""}, ValueError, "path='' is empty"),
        ({"path": 3}, TypeError, "path=3: expected a path"),
        ({"path": b"/a"}, TypeError, "path=b'/a'"),
        ({"path": ["a", "\udcff"]}, ValueError, "not Unicode text"),
        ({"any_of": Filter(camera=1)}, TypeError, "any_of=.*: expected a list of filters"),
        ({"all_of": [{"camera": 1}]}, TypeError, "all_of=.*: expected a list of filters"),
        ({"none_of": None}, TypeError, "none_of=None"),
        ({"any_of": "camera=c1"}, TypeError, "any_of='camera=c1'"),
    ],
)
def test_refuses_what_no_row_could_meet(options, error, match):
    with pytest.raises(error, match=match):
        Filter(**options)


def test_filters_within_filters_have_a_bound():
    filter = Filter(camera=1)
    for _ in range(15):
        filter = Filter(none_of=[filter])
    for wrap in (
        lambda: Filter(none_of=[filter]),
        lambda: filter_of(json.loads('{"any_of":[' * 300 + "{}" + "]}" * 300)),
    ):
        with pytest.raises(ValueError, match="nested more than 16 deep"):
            wrap()


@pytest.mark.parametrize(
    ("described", "match"),
    [("camera=c1", "'camera=c1' is not a filter: expected a JSON object"), ([1], "is not a filter"),
     (None, "is not a filter"),
     ({"kamera": 1}, "A filter has no 'kamera': expected camera, source"), ({"any_of": {}}, "any_of={}: expected a"),
     ({"any_of": [3]}, "3 is not a filter"), ({"camera": {"a": 1}}, "camera=.*: expected one value")],
)  # fmt: skip
def test_a_described_filter_that_is_none_is_refused(described, match):
    with pytest.raises((TypeError, ValueError), match=match):
        filter_of(described)


def test_a_filter_does_not_change_with_the_list_that_it_was_made_of():
    cameras, parts = ["a"], [Filter(source="b")]
    filter = Filter(camera=cameras, any_of=parts)
    cameras.append("c")
    parts.append(Filter(source="d"))
    assert (filter.cameras, len(filter.any_of)) == (["a"], 1)


def test_a_path_is_asked_for_as_it_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Filter(path="crops/../a.jpg").paths == Filter(path=Path("a.jpg")).paths == [str(tmp_path / "a.jpg")]


NESTED = [{1: 1}, {"a": {1: 2}}, {"a": [{"b": {None: 1}}]}, {True: 1}, {("a",): 1}, {b"a": 1}]


@pytest.mark.parametrize("metadata", NESTED, ids=str)
def test_names_of_metadata_are_text_at_any_depth(metadata):
    with pytest.raises(TypeError, match=r"it: the name .* expected text"):
        checked("it", metadata)


def deep(levels):
    value = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return {"x": value}


@pytest.mark.parametrize(
    "metadata", [deep(32), deep(2000), {"n": 10**640}, {"n": [-(10**5000)]}], ids=lambda m: str(len(m))
)
def test_metadata_too_deep_or_with_too_many_digits_are_refused(metadata):
    with pytest.raises(
        ValueError, match=r"it holds lists or dicts nested more than 32 deep|a number of more than 640 digits"
    ):
        checked("it", metadata)


def test_scalars_of_numpy_and_moments_are_kept_as_what_they_are():
    given = {"a": np.int64(3), "b": np.str_("x"), "c": [np.bool_(True), (np.float32(0.5),)], "d": date(2026, 5, 1),
             "e": {"when": datetime(2026, 5, 1, 3)}, "f": np.datetime64("2026-05-01T04", "ns"), "g": Camera.NORTH,
             "timestamp": np.datetime64("NaT")}  # fmt: skip
    kept = {"a": 3, "b": "x", "c": [True, [0.5]], "d": "2026-05-01", "e": {"when": "2026-05-01T03:00:00"},
            "f": "2026-05-01T04:00:00", "g": "north", "timestamp": None}  # fmt: skip
    assert checked("it", given) == kept == json.loads(json.dumps(checked("it", given)))
    assert checked("it", deep(31)) == deep(31)


@pytest.mark.parametrize("where", ["camera=c1", {"camera": "c1"}, ["c1"], 3, [Filter()]])
def test_what_is_no_filter_is_refused_wherever_one_is_taken(tmp_path, tiny_model, tiny_processor, pictures, where):
    gallery = Gallery.open(tmp_path / "g", tiny_model, tiny_processor)
    gallery.add(pictures[:1], progress=False)
    for use in (
        lambda: gallery.search("a red coat", k=1, where=where),
        lambda: gallery.count(where=where),
        lambda: gallery.rows(where=where),
        lambda: gallery.remove(where=where),
    ):
        with pytest.raises(TypeError, match="expected a Filter"):
            use()
    assert gallery.count() == 1
