"""Filters drawn at random, and what they mean, said once more and slowly, of one image after the other."""

import math
import random
from datetime import datetime, timezone
from typing import Any

from hypothesis import strategies as st

from tbps.gallery.filters import Filter

NUMBER_VALUES = [1, 1.0, 0, -0.0, -1, 2.5, 2**53, 2**53 + 1, 10**30, 1e5]
TEXT_VALUES = ["1", "a\"b'", "ä", "", "b", "1e5"]
SCALAR_VALUES = [*NUMBER_VALUES, *TEXT_VALUES, True, False]
PATHS = ["/crops/a/1.jpg", "/crops/a/2.jpg", "/crops/ab/1.jpg", "/crops/a.jpg", "/other/ü 1.jpg", "C:\\crops\\1.jpg"]
FOLDERS = ["/crops", "/crops/a", "/crops/a/", "/", "/crops/a/1.jpg", "/cro", "C:\\crops", "C:\\", "/other/ü 1.jpg"]
KEPT = {
    "camera": [1, "1", 1.0, "1.0", 2, "north", 'a"', ""],
    "source": ["a", "b", 3],
    "timestamp": [0, 10.5, 20, "2026-05-01", "2026-05-01T02:00:00+02:00"],
    "x": SCALAR_VALUES,
    "y": [*SCALAR_VALUES, [1], {"x": 1}, None],
    "note": ["x: 1"],
}
SCALARS, CAMERAS = st.sampled_from(SCALAR_VALUES), st.sampled_from(KEPT["camera"])
METADATA = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in KEPT.items()})
IMAGES = st.tuples(st.sampled_from([None, *PATHS]), METADATA)


def some_images(count: int) -> list[tuple[str | None, dict[str, Any]]]:
    """Paths and metadata, each time the same."""
    rng = random.Random(0)
    chosen = [{name: rng.choice(values) for name, values in KEPT.items() if rng.random() < 0.6} for _ in range(count)]
    return [(rng.choice([None, *PATHS]), metadata) for metadata in chosen]


def _range(bounds: Any) -> Any:
    return st.dictionaries(st.sampled_from([">=", ">", "<=", "<"]), bounds, min_size=1, max_size=2).filter(_is_met)


def _is_met(bounds: Any) -> bool:
    """Whether a range does not end before it begins: such a one is refused."""
    least = [bound for sign, bound in bounds.items() if sign in (">", ">=")]
    return not any(most < bound for sign, most in bounds.items() if sign in ("<", "<=") for bound in least)


NUMBERS, TEXTS = st.sampled_from(NUMBER_VALUES), st.sampled_from(TEXT_VALUES)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), _range(NUMBERS))


def filters(with_texts: bool = True) -> st.SearchStrategy[Filter]:
    """Any filter.

    Args:
        with_texts: also ranges over text.
    """
    values = st.one_of(VALUES, _range(TEXTS)) if with_texts else VALUES
    plain = st.fixed_dictionaries(
        {},
        optional={
            "camera": st.one_of(CAMERAS, st.lists(CAMERAS, max_size=2)),
            "source": st.sampled_from(["a", ["a", "b"], {"b"}, ("3",), "none such"]),
            "since": st.sampled_from([0, 10.5, "1970-01-01T00:00:20"]),
            "until": st.sampled_from([20, "2026-05-01", "2026-05-02"]),
            "metadata": st.dictionaries(st.sampled_from(["x", "y"]), values, max_size=2),
            "path": st.one_of(st.sampled_from(FOLDERS), st.lists(st.sampled_from(FOLDERS), max_size=2)),
        },
    )
    nothing = st.just({})

    def within(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
        some = st.lists(inner, max_size=3)
        nested = st.fixed_dictionaries({}, optional={"all_of": some, "any_of": some, "none_of": some})
        return st.builds(lambda own, parts: Filter(**own, **parts), st.one_of(nothing, plain), nested)

    return st.recursive(st.builds(lambda own: Filter(**own), plain), within, max_leaves=5)


def meets(filter: Filter, path: str | None, metadata: dict[str, Any]) -> bool:
    """Whether an image meets a filter."""
    for name in ("camera", "source"):
        asked = getattr(filter, name)
        if asked is not None:
            several = list(asked) if isinstance(asked, list | tuple | set) else [asked]
            if name not in metadata or _text(metadata[name]) not in [_text(value) for value in several]:
                return False
    if filter.path is not None and not any(_lies(path, asked) for asked in _listed(filter.path)):
        return False
    when = None if "timestamp" not in metadata else _seconds(metadata["timestamp"])
    if filter.since is not None and (when is None or when < _seconds(filter.since)):
        return False
    if filter.until is not None and (when is None or when >= _seconds(filter.until)):
        return False
    if not all(name in metadata and _has(metadata[name], asked) for name, asked in filter.metadata.items()):
        return False
    if not all(meets(part, path, metadata) for part in filter.all_of):
        return False
    if filter.any_of is not None and not [part for part in filter.any_of if meets(part, path, metadata)]:
        return False
    return not [part for part in filter.none_of if meets(part, path, metadata)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(int(value)) if value == math.floor(value) else repr(value)


def _seconds(moment: Any) -> float:
    if not isinstance(moment, str):
        return float(moment)
    parsed = datetime.fromisoformat(moment)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp()  # noqa: UP017


def _lies(path: str | None, asked: str) -> bool:
    if path is None:
        return False
    parts, others = (text.replace("\\", "/").rstrip("/").split("/") for text in (path, asked))
    return parts[: len(others)] == others


def _has(stored: Any, asked: Any) -> bool:
    if isinstance(asked, list):
        return any(_has(stored, one) for one in asked)
    if isinstance(asked, dict):
        return all(_compare(stored, sign, bound) for sign, bound in asked.items())
    return _kind(stored) == _kind(asked) and stored == asked


def _compare(stored: Any, sign: str, bound: Any) -> bool:
    if _kind(stored) != _kind(bound):
        return False
    return {">=": stored >= bound, ">": stored > bound, "<=": stored <= bound, "<": stored < bound}[sign]


def _kind(value: Any) -> str:
    return "truth" if isinstance(value, bool) else "number" if isinstance(value, int | float) else type(value).__name__
