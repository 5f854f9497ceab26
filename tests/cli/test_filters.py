"""Filters as options of commands: how their values are read, and which images they select."""

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.cli.filters import filter_of, json_value
from tbps.cli.main import main, parse
from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery import Filter, Gallery
from tbps.gallery.open_store import open_existing, open_store
from tbps.gallery.store import Layout, Row
from tbps.gallery.values import why_none

MODEL, LAYOUT = ModelIdentity("m", "f", 4), Layout("float32", 2, 1, 2)
PATHS = {"1": "/a/1.jpg", "2": "/a/2.jpg", "3": "/b/3.jpg", "4": "/b/4.jpg"}  # of the fixture people


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(),
                 st.lists(st.text())))  # fmt: skip
def test_a_value_is_json_or_else_the_very_text(value):
    if value is not None:
        assert json_value(json.dumps(value)) == value
        assert type(json_value(json.dumps(value))) is type(value)
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            assert json_value(value) == value


LISTED = [
    (["--metadata", "plate=12"], "2"), (["--metadata", 'plate="12"'], "1"), (["--metadata", "plate=1e5"], ""),
    (["--metadata", 'plate="1e5"'], "3"), (["--metadata", 'plate="null"'], "4"), (["--metadata", "x=true"], "3"),
    (["--metadata", 'x="true"'], ""), (["--metadata", '"a>b"="true"'], "4"), (["--metadata", "floor>=2"], "234"),
    (["--metadata", "floor>2", "--metadata", "floor<3"], "4"), (["--metadata", "floor!=2"], "134"),
    (["--metadata", "floor=[1, 3]"], "13"), (["--metadata", "floor=1", "--metadata", "floor=3"], "13"),
    (["--metadata", 'plate>="12"'], "134"), (["--camera", "c1", "--metadata", "floor<=1"], "1"),
    (["--path", "/a"], "12"),
    (["--path", "/a/1.jpg", "--path", "/b"], "134"), (["--since", "2020-01-15", "--until", "2020-03-01"], "2"),
    (["--until", "1w"], "123"), (["--since", "9999d"], "123"), (["--camera", ""], ""),
    (["--where", '{"any_of": [{"camera": "c2"}, {"metadata": {"floor": {"<": 2}}}]}', "--path", "/b"], "34"),
    (["--where", '{"none_of": [{"since": 0}]}'], "4"), (["--where", "{}"], "1234"), ([], "1234"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "expected"), LISTED, ids=str)
def test_lists_the_images_that_meet_the_options(people, capsys, options, expected):
    assert main(["gallery", "list", people, *options, "--json", "--columns", "id,path"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == [{"id": f"id{n}", "path": PATHS[n]} for n in expected]
    assert main(["gallery", "list", people, *options, "--count"]) == 0
    assert capsys.readouterr().out == f"{len(expected)}\n"


WRONG = [
    (["--metadata", "plate"], "plate: expected NAME=VALUE"), (["--metadata", "=3"], "expected NAME=VALUE"),
    (["--metadata", "plate=null"], "null is not a value to search for. For text, use quotes: 'plate=\"...\"'"),
    (["--metadata", "x=1e999"], "the number is too large to search for"),
    (["--metadata", f"x={'9' * 5000}"], "too many digits; for text, use quotes"),
    (["--metadata", "x=" + "[" * 100000], "too deep"), (["--metadata", "x=[[1]]"], "'x'=[1]: expected text"),
    (["--metadata", 'x={"a": 1}'], "expected text, a number"), (["--metadata", "x>=true"], "expected a number or text"),
    (["--metadata", "x>=[1]"], "expected text, a number"), (["--where", "camera=c1"], "Expecting value"),
    (["--where", '["c1"]'], "is not a filter: expected a JSON object"),
    (["--where", '{"kamera": 1}'], "has no 'kamera'"),
    (["--where", '{"camera": 1, "camera": 2}'], "camera' occurs twice"), (["--where", "[" * 100000], "too deeply"),
    (["--where", '{"any_of":[' * 400 + "{}" + "]}" * 400], "deep"), (["--where", '{"camera": NaN}'], "NaN"),
    (["--where", f'{{"camera": {"9" * 5000}}}'], "digits"), (["--since", "soon"], "since='soon' is not a time"),
    (["--until", "999999w"], "before the year 1"),
    (["--since", "2026-05-02", "--until", "2026-05-01"], "is after until="),
    (["--camera", "\udcff"], "not Unicode text"), (["--path", ""], "path='' is empty"),
    (["--columns", "id,face"], "'face'"), (["--columns", ""], "--columns: '' is not a column"),
    (["--columns", "id,thumbnail"], "'thumbnail' is not a column: expected some of id,path"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "said"), WRONG, ids=lambda one: str(one)[:40])
def test_options_that_say_nothing_are_named_in_a_line(people, capsys, options, said):
    try:
        status = main(["gallery", "list", people, *options])
    except SystemExit as stopped:  # a message of argparse
        status = stopped.code
    printed = capsys.readouterr()
    assert (status, printed.out) == (2, "")
    assert said in printed.err
    assert "Traceback" not in printed.err


def test_a_path_that_is_nowhere_is_told_where_paths_are(people):
    view = open_existing(people)
    assert why_none(view, Filter(path="/a/9.jpg")).splitlines()[1:] == ["  path: /a/1.jpg to /b/4.jpg (4)"]


def test_times_of_an_earlier_version_are_told_as_what_they_are(tmp_path):
    store = open_store(tmp_path / "old", MODEL, LAYOUT)
    store.append([Row("a", None, "{}", timestamp=1777645800000.0), Row("b", None, "{}")], np.ones((2, 4), np.float32))
    said = why_none(store, Filter(since=0, until=10))
    assert said.endswith("timestamp: 1777645800000 seconds since 1970 to 1777645800000 seconds since 1970 (1)")


def test_an_age_is_a_moment_before_now():
    options = parse(["gallery", "list", "x", "--since", "30d", "--until", "12h"])
    where, now = filter_of(options), datetime.now(UTC)
    assert math.isclose(where.begin, (now - timedelta(days=30)).timestamp(), abs_tol=60)
    assert math.isclose(where.end, (now - timedelta(hours=12)).timestamp(), abs_tol=60)


def test_a_search_says_whether_anybody_meets_the_filter(tmp_path, tiny_model, tiny_processor, pictures, capsys):
    for part in (tiny_model, tiny_processor):
        part.save_pretrained(tmp_path / "model")
    gallery = Gallery.open(tmp_path / "people", tiny_model, tiny_processor)
    metadata = [{"camera": n % 2, "floor": "2", "timestamp": f"2026-05-0{n + 1}"} for n in range(len(pictures))]
    gallery.add(pictures, metadata, progress=False)
    search = ["search", str(tmp_path / "model"), str(tmp_path / "people"), "a red coat"]
    asked = ["--camera", "north", "--since", "2026-06-01", "--metadata", "floor=2", "--metadata", "hat=red"]
    assert main([*search, *asked]) == 3
    lines = ["no image meets the filter, of 4; there are:", '  camera: "0" (2), "1" (2)', '  hat: on no image',
             '  floor: "2" (4)', "  timestamp: 2026-05-01T00:00:00+00:00 to 2026-05-04T00:00:00+00:00 (4)"]  # fmt: skip
    printed = capsys.readouterr().out.splitlines()
    assert sorted(printed[1:]) == sorted(lines[1:])
    assert printed[0] == lines[0]
    assert main([*search, *asked, "--json"]) == 3
    printed = capsys.readouterr()
    assert (printed.out, printed.err.splitlines()[-5]) == ("[]\n", lines[0])
    assert main([*search, "--camera", "1", "--min-score", "2"]) == 3
    assert capsys.readouterr().out == "no good match among the 2 of 4 images that meet the filter\n"
    assert gallery.why_none(Filter(camera=1)) is None
    assert gallery.why_none(Filter(path="/none")).splitlines()[1:] == ["  path: on no image"]
    assert gallery.why_none(Filter(none_of=[Filter(camera=[0, 1])])).splitlines()[:2] == lines[:2]
