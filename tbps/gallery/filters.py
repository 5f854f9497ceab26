"""Filters on what is known of an image: typed, so that every home means the same by them."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tbps.gallery.checks import check_text

Moment = datetime | str | float
Scalar = str | int | float | bool


@dataclass(frozen=True)
class Filter:
    """Rows that meet all of the conditions given; a row that lacks what is asked for does not meet them.

    Args:
        camera: one camera or several; numbers are compared as text, so that 3 and "3" are one camera.
        source: one source (a file, a video, a track) or several.
        since, until: timestamps from `since` on and before `until`: `datetime`, ISO 8601 text, or seconds since 1970.
            Without a time zone UTC is meant.
        metadata: names and the values that the image's metadata has there: text, number or truth value.

    Raises:
        TypeError, ValueError: a value of another kind; a text that is no time, or no Unicode.
    """

    camera: Scalar | Collection[Scalar] | None = None
    source: str | Collection[str] | None = None
    since: Moment | None = None
    until: Moment | None = None
    metadata: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("camera", "source"):
            _names(name, getattr(self, name))
        for name in ("since", "until"):
            seconds(name, getattr(self, name))
        for name, value in self.metadata.items():
            if not isinstance(name, str) or not isinstance(value, str | int | float | bool):
                raise TypeError(f"metadata filter {name!r}={value!r}: expected text, a number or a truth value.")
        texts = [*(self.cameras or ()), *(self.sources or ()), *self.metadata, *self.metadata.values()]
        for text in texts:
            if isinstance(text, str):
                check_text("a filter's value", text)

    @property
    def cameras(self) -> list[str] | None:
        """As text; None where any will do."""
        return _names("camera", self.camera)

    @property
    def sources(self) -> list[str] | None:
        """None where any will do."""
        return _names("source", self.source)

    @property
    def begin(self) -> float | None:
        """`since` in seconds since 1970."""
        return seconds("since", self.since)

    @property
    def end(self) -> float | None:
        """`until` in seconds since 1970."""
        return seconds("until", self.until)

    def fits(self, metadata: str) -> bool:
        """Whether the metadata of a row, a JSON object, has the values asked for."""
        if not self.metadata:
            return True
        known: dict[str, Any] = json.loads(metadata)
        return all(name in known and same(known[name], value) for name, value in self.metadata.items())


def same(stored: Any, asked: Scalar) -> bool:
    """Equality of JSON values: True is not 1, while 1 and 1.0 are the same number."""
    return isinstance(stored, bool) == isinstance(asked, bool) and bool(stored == asked)


def seconds(name: str, moment: Moment | None) -> float | None:
    """A moment as seconds since 1970, UTC.

    Raises:
        ValueError, TypeError: it is none; `name` says which one.
    """
    if moment is None:
        return None
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError as error:
            raise ValueError(f"{name}={moment!r} is no time: expected ISO 8601, as 2026-05-01T14:30:00.") from error
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        raise TypeError(f"{name}={moment!r}: expected a datetime, ISO 8601 text or seconds since 1970.")
    try:
        moment = float(moment)
    except OverflowError:
        moment = math.inf
    if not math.isfinite(moment):
        raise ValueError(f"{name}={moment!r}: expected a finite number of seconds since 1970.")
    return moment


def _names(name: str, asked: Scalar | Collection[Scalar] | None) -> list[str] | None:
    if asked is None:
        return None
    given = [asked] if isinstance(asked, str | int | float) else list(asked)
    for value in given:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise TypeError(f"{name}={value!r}: expected text or a number, or several of them.")
    return [str(value) for value in given]
