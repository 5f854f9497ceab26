"""The options by which commands name images: by camera, source, time, metadata, path, or any filter as JSON."""

import argparse
import json
import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TextIO

from tbps.cli.parser import text
from tbps.cli.terminal import show

if TYPE_CHECKING:
    from tbps.gallery import Filter, Gallery

_AGE = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PAIR = re.compile(r'("(?:[^"\\]|\\.)*"|[^=<>!]+)(>=|<=|!=|=|>|<)(.*)', re.DOTALL)
_DIGITS = re.compile(r"-?\d{641,}")


def add_filter_options(command: argparse.ArgumentParser) -> None:
    """What images have to meet; where nothing is given, all do."""
    group = command.add_argument_group(
        "filter", "Images that meet all of these. An image that lacks what is asked for is none of them."
    )
    group.add_argument(
        "--camera", action="append", default=[], type=text, help="only of this camera; repeated: or that one"
    )
    group.add_argument(
        "--source", action="append", default=[], type=text, help="only of this source; repeated: or that one"
    )
    group.add_argument(
        "--since", type=moment, metavar="TIME", help="only from then on: 2026-05-01T14:30 (UTC), or 30d or 12h ago"
    )
    group.add_argument("--until", type=moment, metavar="TIME", help="only before then")
    group.add_argument(
        "--path", action="append", default=[], help="only this file, or files below this folder; repeated: or that one"
    )
    group.add_argument(
        "--metadata",
        action="append",
        default=[],
        type=metadata_condition,
        metavar="NAME=VALUE",
        help="only with this value; also NAME!=VALUE, and ranges: NAME>=VALUE, NAME<VALUE, ... VALUE is JSON where it "
        "can be: 12 is a number, true a truth value, [1, 2] one of two; in quotes, '\"12\"', it is text, as is what is "
        "no JSON. Repeated: all must hold, but of several values of one name one",
    )
    group.add_argument(
        "--where",
        type=json_filter,
        metavar="JSON",
        help="a filter as JSON, with all_of, any_of and none_of: "
        '\'{"any_of": [{"camera": "c1"}, {"metadata": {"floor": {">=": 2}}}]}\'',
    )


def filter_of(options: argparse.Namespace) -> "Filter | None":
    """
    The filter that the options describe; None where there is none.

    Raises:
        ValueError: a value of another kind than filters have.
    """
    from tbps.gallery.filters import Filter

    equal: dict[str, list[Any]] = {}
    parts = [] if options.where is None else [options.where]
    unwanted = []
    try:
        for name, sign, value in options.metadata:
            _check_can_be_asked(name, value)
            if sign == "=":
                equal.setdefault(name, []).extend(value if isinstance(value, list) else [value])
            elif sign == "!=":
                unwanted.append(Filter(metadata={name: value}))
            else:
                parts.append(Filter(metadata={name: {sign: value}}))
        filter = Filter(
            options.camera or None, options.source or None, options.since, options.until, equal, options.path or None,
            all_of=parts, none_of=unwanted,
        )  # fmt: skip
    except TypeError as error:  # a value of --metadata may be any JSON
        raise ValueError(str(error)) from error
    return None if filter.is_empty and options.where is None else filter


def _check_can_be_asked(name: str, value: Any) -> None:
    if value is None or (isinstance(value, float) and abs(value) == float("inf")):
        what = "null is no value" if value is None else "so large a number is none"
        raise ValueError(f"--metadata {name}: {what} to ask for. In quotes, as '{name}=\"...\"', it is text.")


def show_nobody(gallery: "Gallery", where: "Filter | None", file: TextIO) -> None:
    """Say that nothing was found, and whether that is for want of images that meet the filter."""
    if where is None:
        show("no good match", file)
        return
    few = f"no good match among the {gallery.count(where)} of {gallery.count()} images that meet the filter"
    for line in (gallery.why_none(where) or few).split("\n"):
        show(line, file)


def moment(text: str) -> str:
    """A time as ISO 8601; `30d` is thirty days ago."""
    age = _AGE.fullmatch(text)
    if age is None:
        return text
    try:
        return (datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})).isoformat()
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text}: so long ago there were no images") from None


def metadata_condition(argument: str) -> tuple[str, str, Any]:
    """A name, a comparison, and a value: JSON where it can be, else text. A name in quotes may hold any character."""
    found = _PAIR.fullmatch(text(argument))
    if found is None:
        raise argparse.ArgumentTypeError(f"{argument}: expected NAME=VALUE, or another of !=, >=, >, <=, <")
    name, sign, value = found.groups()
    return str(json_value(name)) if name.startswith('"') else name, sign, json_value(value)


def json_value(text: str) -> Any:
    """What a text says as JSON, or the text itself where it says nothing."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise argparse.ArgumentTypeError(f"{text[:40]}...: lists too deep in each other") from None
    except ValueError:
        if _DIGITS.fullmatch(text):
            raise argparse.ArgumentTypeError(f"{text[:40]}...: too many digits; in quotes it is text") from None
        return text


def json_filter(argument: str) -> "Filter":
    """A filter that is written as JSON."""
    from tbps.data.strict_json import parse_json
    from tbps.gallery.filters import filter_of as filter_from

    try:
        return filter_from(parse_json(os.fsencode(argument)))
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{argument[:200]}: {error}") from error


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")
