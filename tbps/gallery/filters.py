"""Filters on the metadata and paths of images. They are typed, so that they mean the same in every store."""

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from os import PathLike
from typing import Any

from tbps.gallery.checks import shown
from tbps.gallery.paths import full_path
from tbps.gallery.scalars import Scalar, name_of, plain, same, scalar
from tbps.gallery.timestamps import Timestamp, seconds

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
    """
    A condition on a metadata name: it has one of `values`; or, if that is None, its value lies within all `bounds`.

    Numbers compare with numbers, and text with text, in the order of its characters. A boolean is in no range.
    """

    name: str
    values: tuple[Scalar, ...] | None
    bounds: tuple[tuple[str, int | float | str], ...] = ()

    def is_met_by(self, metadata: Mapping[str, Any]) -> bool:
        """Whether an image's metadata meet the condition. Metadata without the name do not."""
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
    Make the condition that a filter gives for a metadata name.

    Raises:
        TypeError, ValueError: the name is not text, or the value is not a scalar, a list of scalars or a range.
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
    """
    List one value, or the values of a list, tuple, set or array.

    Raises:
        TypeError: a mapping, bytes, an iterator, or anything else whose elements are not values.
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
            raise ValueError(f"{what}: {shown(sign)} is not a comparison; {_RANGE}.")
        bound = scalar(f"{what} {sign}", value)
        if isinstance(bound, bool):
            raise TypeError(f"{what} {sign} {bound!r}: expected a number or text.")
        bounds.append((sign, bound))
    if not bounds:
        raise ValueError(f"{what} has no bounds; {_RANGE}.")
    if len({isinstance(bound, str) for _, bound in bounds}) > 1:
        raise TypeError(f"{what}={shown(dict(asked))} mixes a number and a text: both bounds must have the same type.")
    least, most = (_those(bounds, side) for side in "><")
    if least and most and max(least) > min(most):
        raise ValueError(f"{what}={shown(dict(asked))} ends before it begins: no image could meet it.")
    return tuple(bounds)


def _those(bounds: list[tuple[str, int | float | str]], side: str) -> list[Any]:
    """Return the lower or the upper bounds of a range."""
    return [bound for sign, bound in bounds if sign.startswith(side)]


PathText = str | PathLike[str]

_MAX_DEPTH = 16  # of nested filters; an expression of Milvus has twice as many brackets


@dataclass(frozen=True)
class Filter:
    """
    Conditions on images. An image meets a filter if it meets all of its conditions; one without the metadata that a
    condition asks for does not.

    Args:
        camera: one camera or several. Equal numbers are one camera, and 3 and "3" are the same.
        source: one source (a file, a video, a track) or several.
        since, until: timestamps at or after `since` and before `until`: `datetime`, `date`, ISO 8601 text, or seconds
            since 1970. Without a time zone they are UTC.
        metadata: for each name, a value (text, number or boolean), a list of values, one of which the image must
            have, or a range, such as {"floor": {">=": 2, "<": 5}}.
        path: the path of a file, or of a folder that the file lies below; or several.
        all_of, any_of, none_of: filters; the image must meet all of them, at least one, or none.

    No image meets an empty list of cameras, values or `any_of`.

    Raises:
        TypeError, ValueError: a value of another type, text that is not a time or not valid Unicode, or `since` after
            `until`.
    """

    camera: Scalar | Collection[Scalar] | None = None
    source: Scalar | Collection[Scalar] | None = None
    since: Timestamp | None = None
    until: Timestamp | None = None
    metadata: Mapping[str, Asked] = field(default_factory=dict)
    path: PathText | Collection[PathText] | None = None
    all_of: Sequence["Filter"] = ()
    any_of: Sequence["Filter"] | None = None
    none_of: Sequence["Filter"] = ()

    def __post_init__(self) -> None:
        for name in ("all_of", "any_of", "none_of"):  # a list could change later
            object.__setattr__(self, name, _filters(name, getattr(self, name)))
        if self.depth > _MAX_DEPTH:
            raise ValueError(f"Filters are nested more than {_MAX_DEPTH} deep: make them flatter.")
        if not isinstance(self.metadata, Mapping):
            raise TypeError(f"metadata={shown(self.metadata)}: expected a dict, as Filter(metadata={{'floor': 2}}).")
        _ = self.cameras, self.sources, self.paths, self.conditions  # each checks its arguments
        begin, end = self.begin, self.end
        if begin is not None and end is not None and begin > end:
            raise ValueError(f"since={shown(self.since)} is after until={shown(self.until)}: no image could meet it.")

    @cached_property
    def cameras(self) -> list[str] | None:
        """The cameras as text; None if any will do."""
        return _names("camera", self.camera)

    @cached_property
    def sources(self) -> list[str] | None:
        """The sources as text; None if any will do."""
        return _names("source", self.source)

    @cached_property
    def begin(self) -> float | None:
        """`since` in seconds since 1970."""
        return seconds("since", self.since)

    @cached_property
    def end(self) -> float | None:
        """`until` in seconds since 1970."""
        return seconds("until", self.until)

    @cached_property
    def paths(self) -> list[str] | None:
        """The full paths; None if any will do."""
        return None if self.path is None else [full_path("path", path) for path in several("path", self.path)]

    @cached_property
    def conditions(self) -> list[Condition]:
        """The conditions on the metadata."""
        return [condition(name, asked) for name, asked in self.metadata.items()]

    @property
    def parts(self) -> list["Filter"]:
        """The filters within this one."""
        return [*self.all_of, *(self.any_of or ()), *self.none_of]

    @property
    def flat(self) -> list["Filter"]:
        """This filter and all nested ones, at any depth."""
        return [self, *(one for part in self.parts for one in part.flat)]

    @cached_property
    def depth(self) -> int:
        """The depth of nesting; 1 without nested filters."""
        return 1 + max((part.depth for part in self.parts), default=0)

    @property
    def is_empty(self) -> bool:
        """Whether the filter has no condition, so that every image meets it."""
        asked = self.cameras, self.sources, self.begin, self.end, self.paths, self.conditions or None
        if any(one is not None for one in asked) or self.none_of:
            return False
        any_will_do = self.any_of is None or any(part.is_empty for part in self.any_of)
        return any_will_do and all(part.is_empty for part in self.all_of)


def check_filter(where: Any) -> None:
    """
    Refuse what is neither a filter nor None.

    Raises:
        TypeError: a value of another type, such as text or a dict.
    """
    if where is not None and not isinstance(where, Filter):
        raise TypeError(f"where={shown(where)}: expected a Filter, as Filter(camera='c1').")


def check_restricts(where: Filter) -> None:
    """
    Refuse a filter without conditions: a variable that is empty by mistake must not empty the gallery.

    Raises:
        ValueError: every image meets the filter.
    """
    if where.is_empty:
        raise ValueError("The filter has no conditions, so every image would be removed: name what to remove.")


def filter_of(described: Any, depth: int = _MAX_DEPTH) -> Filter:
    """
    Make a filter of a JSON object, whose names are those of `Filter`. Nested filters are objects too.

    Raises:
        TypeError, ValueError: not an object, a name that a filter does not have, or as `Filter`.
    """
    names = [one.name for one in fields(Filter)]
    if not isinstance(described, Mapping):
        raise TypeError(f'{shown(described)} is not a filter: expected a JSON object such as {{"camera": "c1"}}.')
    unknown = [name for name in described if name not in names]
    if unknown:
        raise ValueError(f"A filter has no {shown(unknown[0])}: expected {', '.join(names)}.")
    if not depth:
        raise ValueError(f"Filters are nested more than {_MAX_DEPTH} deep: make them flatter.")
    inner: dict[str, Any] = {}
    for name in {"all_of", "any_of", "none_of"} & described.keys():
        if not isinstance(described[name], list | tuple):
            raise TypeError(f"{name}={shown(described[name])}: expected a list of filters.")
        inner[name] = [filter_of(one, depth - 1) for one in described[name]]
    return Filter(**{**described, **inner})


def _filters(name: str, given: Any) -> tuple[Filter, ...] | None:
    if given is None and name == "any_of":
        return None
    if not isinstance(given, list | tuple) or not all(isinstance(one, Filter) for one in given):
        raise TypeError(f"{name}={shown(given)}: expected a list of filters such as [Filter(camera='c1')].")
    return tuple(given)


def _names(name: str, asked: Any) -> list[str] | None:
    return None if asked is None else [name_of(name, value) for value in several(name, asked)]
