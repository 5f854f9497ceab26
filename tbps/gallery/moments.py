"""Moments as seconds since 1970, and refusal of what is no moment that a camera could have seen."""

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from tbps.gallery.checks import shown

Moment = datetime | date | str | float

FIRST, LAST = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (1900, 2200))
_RANGE = "between the years 1900 and 2200"


def seconds(name: str, moment: Any) -> float | None:
    """
    A moment as seconds since 1970, UTC; what has no time zone is taken as UTC, a date as its first moment.

    Args:
        name: what messages call it. moment: `datetime`, `date`, ISO 8601 text, or seconds since 1970; None stays None.

    Raises:
        TypeError: of another type. ValueError: no moment between the years 1900 and 2200, such as milliseconds.
    """
    if moment is None:
        return None
    plain = _plain(name, moment)
    if isinstance(plain, float):
        _check_no_calendar_date(name, plain)
    found = plain if isinstance(plain, float) else _since_1970(name, moment, plain)
    if not FIRST <= found < LAST:
        expected = f"as seconds since 1970{_hint(found)}" if isinstance(plain, float) else "of a camera's clock"
        raise ValueError(f"{name}={shown(moment)}: expected a moment {_RANGE}, {expected}.")
    return found


def _plain(name: str, moment: Any) -> datetime | float:
    """The moment as a datetime, or as a finite number."""
    if isinstance(moment, np.datetime64):
        moment = moment.astype("datetime64[us]").item()
    elif isinstance(moment, np.generic):
        moment = moment.item()
    if isinstance(moment, str):
        moment = _parsed(name, moment)
    if isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    if isinstance(moment, datetime):
        return moment
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        raise TypeError(f"{name}={shown(moment)}: expected a datetime, ISO 8601 text or seconds since 1970.")
    try:
        moment = float(moment)
    except OverflowError:
        moment = math.inf
    if not math.isfinite(moment):
        raise ValueError(f"{name}={moment!r}: expected a finite number of seconds since 1970.")
    return moment


def _parsed(name: str, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{name}={shown(text)} is no time: expected ISO 8601, as 2026-05-01T14:30:00.") from error


def _since_1970(name: str, given: Any, moment: datetime) -> float:
    try:
        # a difference, as `timestamp` of a missing pandas time gives NaN or an error, by the version
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (aware - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)
    except (ValueError, OverflowError, TypeError) as error:
        raise ValueError(f"{name}={shown(given)} is no time ({error}).") from error


def _hint(found: float) -> str:
    for unit, share in (("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)):
        if FIRST <= found / share < LAST:
            return f"; this looks like {unit}: divide by {share:.0e}".replace("e+0", "e")
    return ""


def _check_no_calendar_date(name: str, number: float) -> None:
    """Refuse 20260501, which as seconds would lie in August of 1970, and 20260501143000, which would be taken for
    microseconds; with minutes and no seconds too."""
    digits = f"{number:.0f}"
    written = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(digits))
    if written is None or not number.is_integer() or not digits.startswith(("19", "20", "21")):
        return
    try:
        moment = datetime.strptime(digits, written)
    except ValueError:
        return
    text = moment.date().isoformat() if len(digits) == 8 else moment.isoformat()
    raise ValueError(f"{name}={digits} looks like a date: write '{text}', or seconds since 1970.")
