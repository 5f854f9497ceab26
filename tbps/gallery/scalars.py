"""Scalar metadata values (text, numbers, booleans), and when two of them are equal."""

import math
from typing import Any

import numpy as np

from tbps.gallery.checks import check_text, shown

Scalar = str | int | float | bool

MOST_DIGITS = 640  # the lowest limit that Python can be set to for reading an integer


def plain(value: Any) -> Any:
    """Convert a NumPy scalar to Python's; leave anything else."""
    return value.item() if isinstance(value, np.generic) else value


def scalar(what: str, value: Any) -> Scalar:
    """
    Check a value that a filter asks for.

    Args:
        what: the name of the value in error messages.

    Raises:
        TypeError: not text, a number or a boolean.
        ValueError: text that is not valid Unicode, or a number that is not finite or has more than 640 digits.
    """
    value = plain(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        check_text(what, value)
        return str.__str__(value)  # of a subclass, such as an enumeration, what JSON stores
    if isinstance(value, int):
        check_digits(what, value)
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{what}={shown(value)}: expected a finite number.")
        return float(value)
    raise TypeError(f"{what}={shown(value)}: expected text, a number or a boolean.")


def check_digits(what: str, number: int) -> None:
    """Refuse an integer that some JSON readers cannot read."""
    if abs(number) >= 10**MOST_DIGITS:
        raise ValueError(f"{what} is a number of more than {MOST_DIGITS} digits: give it as text.")


def one_form(value: Scalar) -> Scalar:
    """Give equal numbers one form: 1.0 becomes 1. True stays a boolean."""
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value


def written_alike(value: Any) -> Any:
    """Give all numbers in a JSON value one form, within lists and objects too."""
    if isinstance(value, list):
        return [written_alike(one) for one in value]
    if isinstance(value, dict):
        return {name: written_alike(one) for name, one in value.items()}
    return one_form(value)


def name_of(what: str, value: Any) -> str:
    """
    Convert a camera or source to text. Equal numbers are one camera, and 3 is "3".

    Args:
        what: the name of the value in error messages.

    Raises:
        TypeError, ValueError: as `scalar`, or the value is a boolean.
    """
    found = scalar(what, value)
    if isinstance(found, bool):
        raise TypeError(f"{what}={shown(value)}: expected text or a number.")
    return str(one_form(found))


def same(stored: Any, asked: Scalar) -> bool:
    """Compare two JSON values: 1 and 1.0 are the same number, and True is not 1."""
    return isinstance(stored, bool) == isinstance(asked, bool) and bool(stored == asked)
