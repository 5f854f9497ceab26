"""Checks of what callers of a gallery give."""

import math
from collections.abc import Collection
from numbers import Real


def check_ids(name: str, ids: Collection[str]) -> None:
    """Refuse a single text, whose letters would be taken for ids."""
    if isinstance(ids, str):
        raise TypeError(f"{name}={ids!r}: expected a list of ids.")


def is_text(text: str) -> bool:
    """Whether it is Unicode, without half surrogates, as which Python reads bytes that are no UTF-8: a name on Linux is
    any bytes, and those cannot be stored as text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_text(what: str, text: str) -> None:
    """Refuse what is no text."""
    if not is_text(text):
        raise ValueError(f"{what} is no Unicode text (surrogates not allowed): {text!r}. Expected UTF-8.")


def check_positive(name: str, value: int) -> None:
    """Refuse what is no whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: expected a whole number.")
    if value < 1:
        raise ValueError(f"{name}={value}: expected 1 or more.")


def check_finite(name: str, value: float) -> None:
    """Refuse what is no finite number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: expected a number.")
    if not math.isfinite(value):
        raise ValueError(f"{name}={value}: expected a finite number, or None.")
