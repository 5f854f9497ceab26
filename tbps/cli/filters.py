"""Options that select images: by camera, source, time, path, metadata, or any filter as JSON."""

import argparse
import json
import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TextIO

from tbps.cli.parser import text, wrapped
from tbps.cli.terminal import show

if TYPE_CHECKING:
    from tbps.gallery import Filter, Gallery

_AGE = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_CONDITION = re.compile(r'("(?:[^"\\]|\\.)*"|[^=<>!]+)(>=|<=|!=|=|>|<)(.*)', re.DOTALL)
_TOO_MANY_DIGITS = re.compile(r"-?\d{641,}")


def add_filter_options(command: argparse.ArgumentParser) -> None:
    """Add the options of a filter. Without any of them every image matches."""
    group = command.add_argument_group(
        "filter",
        wrapped("Select images that meet all of these conditions. An image without the requested field never matches."),
    )
    group.add_argument("--camera", action="append", default=[], type=text,
                       help="images of this camera; repeat for alternatives")  # fmt: skip
    group.add_argument("--source", action="append", default=[], type=text,
                       help="images of this source; repeat for alternatives")  # fmt: skip
    group.add_argument("--since", type=time_or_age, metavar="TIME",
                       help="images from this time on: 2026-05-01T14:30 (UTC), or an age such as 30d or 12h",
                       )  # fmt: skip
    group.add_argument("--until", type=time_or_age, metavar="TIME", help="images before this time")
    group.add_argument("--path", action="append", default=[],
                       help="this file, or the files below this folder; repeat for alternatives")  # fmt: skip
    group.add_argument("--metadata", action="append", default=[], type=metadata_condition, metavar="NAME=VALUE",
                       help="images with this value; also NAME!=VALUE, NAME>=VALUE, NAME>VALUE, NAME<=VALUE, "
                       "NAME<VALUE. VALUE is JSON if it can be read as JSON: 12 is a number, true a boolean, [1, 2] "
                       "either number, '\"12\"' text; anything else is text. Repeat for more conditions; several "
                       "values of one name are alternatives",
                       )  # fmt: skip
    group.add_argument("--where", type=json_filter, metavar="JSON",
                       help="a filter as JSON, with all_of, any_of and none_of: "
                       '\'{"any_of": [{"camera": "c1"}, {"metadata": {"floor": {">=": 2}}}]}\'',
                       )  # fmt: skip


def filter_of(options: argparse.Namespace) -> "Filter | None":
    """
    The filter that the options describe, or None if they describe none.

    Raises:
        ValueError: a value that filters cannot compare with.
    """
    from tbps.gallery.filters import Filter

    equal: dict[str, list[Any]] = {}
    parts = [] if options.where is None else [options.where]
    unwanted = []
    try:
        for name, operator, value in options.metadata:
            _check_comparable(name, value)
            if operator == "=":
                equal.setdefault(name, []).extend(value if isinstance(value, list) else [value])
            elif operator == "!=":
                unwanted.append(Filter(metadata={name: value}))
            else:
                parts.append(Filter(metadata={name: {operator: value}}))
        filter = Filter(
            options.camera or None, options.source or None, options.since, options.until, equal, options.path or None,
            all_of=parts, none_of=unwanted,
        )  # fmt: skip
    except TypeError as error:  # a value of --metadata may be any JSON
        raise ValueError(str(error)) from error
    return None if filter.is_empty and options.where is None else filter


def _check_comparable(name: str, value: Any) -> None:
    if value is None or (isinstance(value, float) and abs(value) == float("inf")):
        what = "null is not a value" if value is None else "the number is too large"
        raise ValueError(f"--metadata {name}: {what} to search for. For text, use quotes: '{name}=\"...\"'.")


def show_no_match(gallery: "Gallery", where: "Filter | None", file: TextIO) -> None:
    """Say that a search found nothing, and whether any image meets the filter at all."""
    if where is None:
        show("no good match", file)
        return
    none_good = f"no good match among the {gallery.count(where)} of {gallery.count()} images that meet the filter"
    for line in (gallery.why_none(where) or none_good).split("\n"):
        show(line, file)


def time_or_age(argument: str) -> str:
    """A time as ISO 8601. An age such as `30d` becomes the time that long ago."""
    age = _AGE.fullmatch(argument)
    if age is None:
        return argument
    try:
        return (datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})).isoformat()
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{argument}: that is before the year 1; give a shorter age") from None


def metadata_condition(argument: str) -> tuple[str, str, Any]:
    """A name, an operator, and a value: JSON if it can be read as JSON, else text. A quoted name may hold any
    character."""
    found = _CONDITION.fullmatch(text(argument))
    if found is None:
        raise argparse.ArgumentTypeError(f"{argument}: expected NAME=VALUE, or another operator: !=, >=, >, <=, <")
    name, operator, value = found.groups()
    return str(json_value(name)) if name.startswith('"') else name, operator, json_value(value)


def json_value(argument: str) -> Any:
    """The value of a JSON text, or the text itself if it is not JSON."""
    try:
        return json.loads(argument, parse_constant=_refuse_constant)
    except RecursionError:
        raise argparse.ArgumentTypeError(f"{argument[:40]}...: lists are nested too deeply") from None
    except ValueError:
        if _TOO_MANY_DIGITS.fullmatch(argument):
            raise argparse.ArgumentTypeError(
                f"{argument[:40]}...: a number with too many digits; for text, use quotes"
            ) from None
        return argument


def json_filter(argument: str) -> "Filter":
    """A filter written as JSON."""
    from tbps.data.strict_json import parse_json
    from tbps.gallery.filters import filter_of as filter_from

    try:
        return filter_from(parse_json(os.fsencode(argument)))
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{argument[:200]}: {error}") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not valid JSON")
