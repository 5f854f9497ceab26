"""Parse untrusted JSON into dataclasses, and refuse everything that is not exactly as expected.

`json` accepts NaN, duplicate names and lone surrogates, and a dataclass accepts values of any type.
"""

import json
import types
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

_LARGEST = 1 << 62  # sums of a few such numbers still fit into 64 bits
_SHOWN = 80  # characters of a value in a message
T = TypeVar("T")


def parse_json(data: bytes) -> Any:
    """Parse JSON in UTF-8.

    Raises:
        ValueError: The data are not JSON, are nested too deeply, or contain a duplicate name or an invalid number.
    """
    try:
        return json.loads(data.decode(), object_pairs_hook=unique_keys, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object, as an `object_pairs_hook` for `json`.

    Raises:
        ValueError: A name occurs twice; readers would differ in which value they take.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{_short(name)} occurs twice")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    found = float(text)
    if abs(found) == float("inf"):
        raise ValueError(f"{_short(text)} is out of range")
    return found


def build_dataclass(kind: type[T], value: Any, where: str = "it") -> T:
    """Build a dataclass from parsed JSON.

    Fields may be plain values, literals, lists, tuples, dicts with string keys, dataclasses, optional values, or `Any`.

    Args:
        kind: The dataclass.
        value: The parsed JSON.
        where: The name of the value in messages.

    Raises:
        ValueError: A field is missing, unknown or of the wrong type, or the dataclass rejects it.
    """
    if not isinstance(value, dict):
        raise _unexpected(where, value, f"an object of {', '.join(field.name for field in fields(kind))}")  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    for problem, some in (("lacks", names - value.keys()), ("has an unknown", value.keys() - names)):
        if some:
            raise ValueError(f"{where} {problem} {_short(min(some))}")
    found = {name: _as(hints[name], entry, f"{where}: {name}") for name, entry in value.items()}
    try:
        return kind(**found)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _as(kind: Any, value: Any, where: str) -> Any:
    """Convert a value to the type of an annotation."""
    if kind is Any:
        return value
    origin = get_origin(kind) or kind
    if isinstance(kind, type) and is_dataclass(kind):
        return build_dataclass(kind, value, where)
    readers: dict[Any, Callable[[Any, Any, str], Any]] = {
        Literal: _literal, tuple: _tuple, list: _list, dict: _dict, Union: _optional, types.UnionType: _optional,
        float: _float,
    }  # fmt: skip
    return readers.get(origin, _plain)(kind, value, where)


def _plain(kind: Any, value: Any, where: str) -> Any:
    if type(value) is not kind:  # not isinstance: True is an int
        raise _unexpected(where, value, kind.__name__)
    if kind is int and abs(value) > _LARGEST:
        raise _unexpected(where, value, "a 64-bit number")
    if kind is str and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _unexpected(where, value, "Unicode text") from None
    return value


def _float(kind: Any, value: Any, where: str) -> float:
    return float(_plain(int, value, where)) if type(value) is int else _plain(kind, value, where)


def _literal(kind: Any, value: Any, where: str) -> Any:
    for one in get_args(kind):
        if type(one) is type(value) and one == value:
            return value
    raise _unexpected(where, value, " or ".join(map(repr, get_args(kind))))


def _optional(kind: Any, value: Any, where: str) -> Any:
    one = next(some for some in get_args(kind) if some is not types.NoneType)
    return None if value is None else _as(one, value, where)


def _tuple(kind: Any, value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _unexpected(where, value, "a list")
    one = get_args(kind)[0]
    if one is int and all(type(entry) is int and abs(entry) <= _LARGEST for entry in value):  # there may be millions
        return tuple(value)
    return tuple(_as(one, entry, f"{where}[{index}]") for index, entry in enumerate(value))


def _list(kind: Any, value: Any, where: str) -> list[Any]:
    return list(_tuple(kind, value, where))


def _dict(kind: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unexpected(where, value, "an object")
    one = get_args(kind)[1]
    return {_plain(str, name, where): _as(one, entry, f"{where}[{_short(name)}]") for name, entry in value.items()}


def _unexpected(where: str, value: Any, expected: str) -> ValueError:
    return ValueError(f"{where}={_short(value)}, expected {expected}")


def _short(value: Any) -> str:
    """Shorten a value for a message; it may have millions of characters."""
    text = repr(value) if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
