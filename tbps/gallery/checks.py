"""Checks of the arguments of a gallery, and the error of a gallery that cannot be used."""

import math
import sys
from collections.abc import Callable, Collection
from functools import wraps
from numbers import Real
from typing import Any, ParamSpec, TypeVar

from tbps.files_tbps import printable

P = ParamSpec("P")
R = TypeVar("R")
_MAX_SHOWN = 200  # letters of a value in a message


class GalleryError(ValueError):
    """
    A gallery is damaged, busy, empty, or belongs to another model. The message names it and says what to do.

    Control characters that the message quotes from somebody else's gallery are escaped, as they could steer a terminal.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def shown(value: Any) -> str:
    """Format a value for a message. Long values are cut; a number can have too many digits to be written."""
    try:
        text = repr(value)
    except ValueError:
        return f"a {type(value).__name__} with too many digits"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def check_ids(name: str, ids: Any) -> None:
    """
    Refuse what is not a collection of ids. The letters of a single text would pass for ids.

    Raises:
        TypeError: not a collection, or an id is not text.
        ValueError: an id is not valid Unicode.
    """
    if isinstance(ids, str | bytes) or not isinstance(ids, Collection):
        raise TypeError(f"{name}={shown(ids)}: expected a list of ids.")
    for id in ids:
        if not isinstance(id, str):
            raise TypeError(f"{name}: {shown(id)} is a {type(id).__name__}, expected an id as text.")
        check_text(f"{name}: an id", id)


def is_text(text: str) -> bool:
    """Whether a string is valid Unicode. A file name on Linux can be any bytes; those that are not UTF-8 become half
    surrogates in Python, which cannot be stored as text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_text(what: str, text: str) -> None:
    """Refuse a string that is not valid Unicode."""
    if not is_text(text):
        raise ValueError(f"{what} is not Unicode text (surrogates not allowed): {shown(text)}. Expected UTF-8.")


def check_positive(name: str, value: int) -> None:
    """Refuse what is not an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={shown(value)}: expected an integer.")
    if value < 1:
        raise ValueError(f"{name}={shown(value)}: expected 1 or more.")


def check_finite(name: str, value: float) -> None:
    """Refuse what is not a finite number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name}={shown(value)}: expected a number.")
    if (isinstance(value, int) and abs(value) > sys.float_info.max) or not math.isfinite(value):
        raise ValueError(f"{name}={shown(value)}: expected a finite number, or None.")


def refuse_renamed(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that a keyword argument with a former name is refused with its present name."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            for old in names.keys() & kwargs.keys():
                raise TypeError(f"{old} is now {names[old]}: give {names[old]}={shown(kwargs[old])}.")
            return function(*args, **kwargs)

        return call

    return decorate


def refuse_renamed_fields(**names: str) -> Callable[[type[R]], type[R]]:
    """Decorate a class so that an argument with a former name is refused with its present name."""

    def decorate(kind: type[R]) -> type[R]:
        kind.__init__ = refuse_renamed(**names)(kind.__init__)  # type: ignore[method-assign]
        return kind

    return decorate
