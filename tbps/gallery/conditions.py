"""Conditions on single names of metadata: one of some values, or a range."""

import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tbps.gallery.checks import shown
from tbps.gallery.scalars import Scalar, plain, same, scalar

Asked = Scalar | Collection[Scalar] | Mapping[str, Scalar]
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
_RANGE = "expected a range as {'>=': 2, '<': 5}, of " + ", ".join(COMPARISONS)


@dataclass(frozen=True)
class Condition:
    """What is asked of a metadata name: to have one of `values`, or, where that is None, to lie within all `bounds`.

    A number is compared with numbers, text with text, by the order of its characters; no truth value is in a range.
    """

    name: str
    values: tuple[Scalar, ...] | None
    bounds: tuple[tuple[str, int | float | str], ...] = ()

    def fits(self, metadata: Mapping[str, Any]) -> bool:
        """Whether the metadata of an image meet it; without the name they do not."""
        if self.name not in metadata:
            return False
        stored = metadata[self.name]
        if self.values is not None:
            return any(same(stored, value) for value in self.values)
        return all(_within(stored, sign, bound) for sign, bound in self.bounds)


def _within(stored: Any, sign: str, bound: int | float | str) -> bool:
    if isinstance(stored, bool) or not isinstance(stored, str if isinstance(bound, str) else int | float):
        return False
    return bool(COMPARISONS[sign](stored, bound))


def condition(name: Any, asked: Any) -> Condition:
    """
    What a filter says of a metadata name.

    Raises:
        TypeError, ValueError: a name that is no text, a value of another kind, no range.
    """
    name = plain(name)
    if not isinstance(name, str):
        raise TypeError(f"metadata filter: the name {shown(name)} is a {type(name).__name__}, expected text.")
    what = f"metadata filter {name!r}"
    scalar("the name of a metadata filter", name)
    if isinstance(asked, Mapping):
        return Condition(name, None, _bounds(what, asked))
    return Condition(name, tuple(scalar(what, value) for value in several(what, asked)))


def several(what: str, asked: Any) -> list[Any]:
    """One value, or the values of a list, tuple, set or array.

    Raises:
        TypeError: a mapping, bytes, an iterator, anything else whose elements are not values.
    """
    if hasattr(asked, "tolist") and getattr(asked, "ndim", 0) == 1:  # an array, a column of a table
        return list(asked.tolist())
    if isinstance(asked, list | tuple | set | frozenset):
        return list(asked)
    if isinstance(asked, Collection) and not isinstance(asked, str):
        raise TypeError(f"{what}={shown(asked)} is a {type(asked).__name__}: expected one value, or a list of values.")
    return [asked]


def _bounds(what: str, asked: Mapping[Any, Any]) -> tuple[tuple[str, int | float | str], ...]:
    bounds = []
    for sign, value in asked.items():
        if sign not in COMPARISONS:
            raise ValueError(f"{what}: {shown(sign)} is no comparison; {_RANGE}.")
        bound = scalar(f"{what} {sign}", value)
        if isinstance(bound, bool):
            raise TypeError(f"{what} {sign} {bound!r}: expected a number or text.")
        bounds.append((sign, bound))
    if not bounds:
        raise ValueError(f"{what} has no bounds; {_RANGE}.")
    if len({isinstance(bound, str) for _, bound in bounds}) > 1:
        raise TypeError(f"{what}={shown(dict(asked))} has a number and a text as bounds: expected two of a kind.")
    least, most = (_those(bounds, side) for side in "><")
    if least and most and max(least) > min(most):
        raise ValueError(f"{what}={shown(dict(asked))} ends before it begins: no image could fit.")
    return tuple(bounds)


def _those(bounds: list[tuple[str, int | float | str]], side: str) -> list[Any]:
    """The lower or the upper bounds of a range."""
    return [bound for sign, bound in bounds if sign.startswith(side)]
