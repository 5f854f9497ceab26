"""Text, numbers and truth values of metadata, and when two of them are the same."""

import math
from typing import Any

import numpy as np

from tbps.gallery.checks import check_text, shown

Scalar = str | int | float | bool

MOST_DIGITS = 640  # the least to which Python's own limit for reading a number can be set


def plain(value: Any) -> Any:
    """A scalar of NumPy as Python's; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def scalar(what: str, value: Any) -> Scalar:
    """
    A value that can be asked for.

    Args:
        what: what messages call it.

    Raises:
        TypeError: neither text nor number nor truth value. ValueError: half surrogates, a number that is not finite
            or has more than 640 digits.
    """
    value = plain(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        check_text(what, value)
        return str.__str__(value)  # of a subclass, as an enumeration, what is stored of it
    if isinstance(value, int):
        check_digits(what, value)
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{what}={shown(value)}: expected a finite number.")
        return float(value)
    raise TypeError(f"{what}={shown(value)}: expected text, a number or a truth value.")


def check_digits(what: str, number: int) -> None:
    """Refuse a number that some readers of JSON could not read."""
    if abs(number) >= 10**MOST_DIGITS:
        raise ValueError(f"{what} is a number of more than {MOST_DIGITS} digits: give it as text.")


def one_form(value: Scalar) -> Scalar:
    """One form for numbers that are equal: 1.0 as 1; True stays a truth value."""
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value


def written_alike(value: Any) -> Any:
    """A value of JSON in which all numbers have one form, within lists and objects too."""
    if isinstance(value, list):
        return [written_alike(one) for one in value]
    if isinstance(value, dict):
        return {name: written_alike(one) for name, one in value.items()}
    return one_form(value)


def name_of(what: str, value: Any) -> str:
    """
    A camera or source as text: numbers that are equal are one, and 3 is "3".

    Raises:
        TypeError, ValueError: as `scalar`; or it is a truth value.
    """
    found = scalar(what, value)
    if isinstance(found, bool):
        raise TypeError(f"{what}={shown(value)}: expected text or a number.")
    return str(one_form(found))


def same(stored: Any, asked: Scalar) -> bool:
    """Equality of JSON values: True is not 1, while 1 and 1.0 are the same number."""
    return isinstance(stored, bool) == isinstance(asked, bool) and bool(stored == asked)
