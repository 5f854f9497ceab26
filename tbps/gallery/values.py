"""Read rows without their vectors: one by one, counted by value, or as an explanation of a filter without matches."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from tbps.files_tbps import printable
from tbps.gallery.checks import check_text, shown
from tbps.gallery.filters import Filter
from tbps.gallery.metadata import parsed
from tbps.gallery.scalars import written_alike
from tbps.gallery.store import View

COLUMNS = ("id", "path", "metadata", "camera", "source", "timestamp", "thumbnail")
_MAX_VALUES = 100_000  # of one name: further ones are left out, so that memory is bounded
_SHOWN = 12  # values in a message
_MAX_LETTERS = 40  # of a value in a message


def select_rows(view: View, where: Filter | None, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """
    Iterate over some columns of the rows that meet a filter, with metadata as a dict.

    Raises:
        TypeError, ValueError: unknown columns, or none.
    """
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise TypeError(f"columns={shown(columns)}: expected a list of {', '.join(COLUMNS)}.")
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown or not columns:
        what = f"{shown(unknown[0])} is not a column" if unknown else "there are none"
        raise ValueError(f"columns={shown(list(columns))}: {what}; expected some of {', '.join(COLUMNS)}.")
    return _read(view, where, list(dict.fromkeys(columns)))


def _read(view: View, where: Filter | None, columns: list[str]) -> Iterator[dict[str, Any]]:
    for piece in view.iter_rows(columns, where):
        for row in piece:
            if "metadata" in row:
                row["metadata"] = parsed(row["metadata"], row.get("id"))
            yield row


def values_of(view: View, name: str, where: Filter | None = None) -> list[tuple[Any, int]]:
    """
    List the values of a metadata name, each with the number of its rows, the most frequent first.

    Cameras and sources are text, as filters compare them.

    Raises:
        TypeError, ValueError: the name is not text.
    """
    if not isinstance(name, str):
        raise TypeError(f"name={shown(name)}: expected the name of a metadata value, as text.")
    check_text("name", name)
    is_column = name in ("camera", "source")
    counts: Counter[str] = Counter()
    for row in _read(view, where, [name if is_column else "metadata"]):
        value = row[name] if is_column else row["metadata"].get(name)
        text = json.dumps(written_alike(value), sort_keys=True)
        if value is not None and (text in counts or len(counts) < _MAX_VALUES):
            counts[text] += 1
    return [(json.loads(text), count) for text, count in counts.most_common()]


def why_none(view: View, where: Filter) -> str | None:
    """
    Explain why no row meets a filter.

    Returns:
        A text with a line for each name that the filter uses, which lists the values that exist; None if a row meets
        the filter.
    """
    if view.count(where):
        return None
    filters = where.flat
    asked = {"camera": [filter.cameras for filter in filters], "source": [filter.sources for filter in filters]}
    names = [name for name, values in asked.items() if any(one is not None for one in values)]
    names += [condition.name for filter in filters for condition in filter.conditions]
    lines = [f"{name}: {_some(values_of(view, name))}" for name in dict.fromkeys(names)]
    if any(filter.begin is not None or filter.end is not None for filter in filters):
        lines.append(f"timestamp: {_times(view)}")
    if any(filter.paths is not None for filter in filters):
        lines.append(f"path: {_paths(view)}")
    return "\n".join(
        [f"no image meets the filter, of {view.count()}; there are:", *(f"  {printable(line)}" for line in lines)]
    )


def _some(values: list[tuple[Any, int]]) -> str:
    """Format values as a filter has them. Text is in quotes, so that 12 and "12" look different."""
    texts = []
    for value, count in values[:_SHOWN]:
        text = json.dumps(value, ensure_ascii=False)
        texts.append(f"{text if len(text) <= _MAX_LETTERS else text[:_MAX_LETTERS] + '...'} ({count})")
    more = [f"and {len(values) - _SHOWN} more"] if len(values) > _SHOWN else []
    return ", ".join([*texts, *more]) or "on no image"


def _times(view: View) -> str:
    found = _extremes(view, "timestamp")
    return f"{_written(found[0])} to {_written(found[1])} ({found[2]})" if found else "on no image"


def _paths(view: View) -> str:
    """Format the first and the last path in alphabetical order, which shows where the images lie."""
    found = _extremes(view, "path")
    return "{} to {} ({})".format(*found) if found else "on no image"


def _extremes(view: View, column: str) -> tuple[Any, Any, int] | None:
    """Return the smallest and the largest value of a column, and the number of values; None if there are none."""
    found: tuple[Any, Any, int] | None = None
    for row in _read(view, None, [column]):
        value = row[column]
        if value is not None:
            least, greatest, count = found or (value, value, 0)
            found = min(least, value), max(greatest, value), count + 1
    return found


def _written(timestamp: float) -> str:
    """Format a timestamp as ISO 8601, unless an earlier version stored one that is out of range."""
    try:
        return datetime.fromtimestamp(timestamp, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{timestamp:.0f} seconds since 1970"
