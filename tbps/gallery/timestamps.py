"""Timestamps as seconds since 1970. Refuses times that no camera could have seen."""

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from tbps.gallery.checks import shown

Timestamp = datetime | date | str | float

FIRST, LAST = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (1900, 2200))
_RANGE = "between the years 1900 and 2200"


def seconds(name: str, timestamp: Any) -> float | None:
    """
    Convert a timestamp to seconds since 1970, UTC.

    Args:
        name: the name of the value in error messages.
        timestamp: a `datetime`, a `date` (its first moment), ISO 8601 text, or seconds since 1970. Without a time zone
            it is UTC. None stays None.

    Raises:
        TypeError: a value of another type.
        ValueError: not a time between the years 1900 and 2200, such as milliseconds.
    """
    if timestamp is None:
        return None
    plain = _plain(name, timestamp)
    if isinstance(plain, float):
        _check_no_calendar_date(name, plain)
    found = plain if isinstance(plain, float) else _since_1970(name, timestamp, plain)
    if not FIRST <= found < LAST:
        expected = f"as seconds since 1970{_hint(found)}" if isinstance(plain, float) else "of a camera's clock"
        raise ValueError(f"{name}={shown(timestamp)}: expected a time {_RANGE}, {expected}.")
    return found


def _plain(name: str, value: Any) -> datetime | float:
    """Convert to a datetime or a finite number."""
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        value = _parsed(name, value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, datetime):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={shown(value)}: expected a datetime, ISO 8601 text or seconds since 1970.")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"{name}={value!r}: expected a finite number of seconds since 1970.")
    return value


def _parsed(name: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"{name}={shown(text)} is not a time: expected ISO 8601, such as 2026-05-01T14:30:00."
        ) from error


def _since_1970(name: str, given: Any, timestamp: datetime) -> float:
    try:
        # a difference: `datetime.timestamp` of a missing pandas time gives NaN or an error, depending on the version
        aware = timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)
        return (aware - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)
    except (ValueError, OverflowError, TypeError) as error:
        raise ValueError(f"{name}={shown(given)} is not a time ({error}).") from error


def _hint(found: float) -> str:
    for unit, factor in (("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)):
        if FIRST <= found / factor < LAST:
            return f"; this looks like {unit}: divide by {factor:.0e}".replace("e+0", "e")
    return ""


def _check_no_calendar_date(name: str, number: float) -> None:
    """Refuse a calendar date written as a number. As seconds, 20260501 would lie in August of 1970, and 20260501143000
    would pass for microseconds; so would a date with minutes but no seconds."""
    digits = f"{number:.0f}"
    written = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(digits))
    if written is None or not number.is_integer() or not digits.startswith(("19", "20", "21")):
        return
    try:
        timestamp = datetime.strptime(digits, written)
    except ValueError:
        return
    text = timestamp.date().isoformat() if len(digits) == 8 else timestamp.isoformat()
    raise ValueError(f"{name}={digits} looks like a date: write '{text}', or seconds since 1970.")
