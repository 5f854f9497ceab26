"""Checks of what callers of a gallery give.

The error of a gallery that cannot be used as it is.
"""

import math
import sys
from collections.abc import Collection
from numbers import Real
from typing import Any

from tbps.files_tbps import printable


class GalleryError(ValueError):
    """A gallery is damaged, busy, empty or another model's; the message names it and says what to do.

    What it quotes of a stranger's gallery is spelt out where it would steer a terminal.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


_SHOWN = 200  # letters of a value in a message


def shown(value: Any) -> str:
    """A value in a message, cut where it is long; a number can have too many digits to be written."""
    try:
        text = repr(value)
    except ValueError:
        return f"a {type(value).__name__} with too many digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def check_ids(name: str, ids: Any) -> None:
    """Refuse what is no list of ids: a single text, whose letters would be taken for ids, or elements of another type.

    Raises:
        TypeError, ValueError: it is none; or an id is no Unicode text.
    """
    if isinstance(ids, str | bytes) or not isinstance(ids, Collection):
        raise TypeError(f"{name}={shown(ids)}: expected a list of ids.")
    for id in ids:
        if not isinstance(id, str):
            raise TypeError(f"{name}: {shown(id)} is a {type(id).__name__}, expected an id as text.")
        check_text(f"{name}: an id", id)


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
        raise ValueError(f"{what} is no Unicode text (surrogates not allowed): {shown(text)}. Expected UTF-8.")


def check_positive(name: str, value: int) -> None:
    """Refuse what is no whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={shown(value)}: expected a whole number.")
    if value < 1:
        raise ValueError(f"{name}={shown(value)}: expected 1 or more.")


def check_finite(name: str, value: float) -> None:
    """Refuse what is no finite number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name}={shown(value)}: expected a number.")
    if (isinstance(value, int) and abs(value) > sys.float_info.max) or not math.isfinite(value):
        raise ValueError(f"{name}={shown(value)}: expected a finite number, or None.")
