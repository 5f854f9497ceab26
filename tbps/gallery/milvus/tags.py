"""What a row in Milvus can be asked for: digests of its facts, kept as an array of its tags.

A number also has tags for the ranges that it lies in. It is written as text whose order is that of the numbers, and
each beginning of that text is a tag; a range is met by whatever begins in one of a few ways. So a range, too, is a
question of which tags are there, which every version of the server answers alike; how they compare JSON differs.
"""

import json
import struct
import sys
from hashlib import blake2b
from math import isfinite
from typing import Any

from tbps.gallery.metadata import metadata_of
from tbps.gallery.paths import places_of
from tbps.gallery.scalars import Scalar, one_form
from tbps.gallery.store import Row

DIGEST_LENGTH = 24
_DIGITS = "0123456789abcdef"
_FLOAT_DIGITS = 16
_ALL_WHOLE = 2.0**53  # below it floats hold every whole number
_LARGEST = sys.float_info.max


def digest(kind: str, name: str, value: Scalar) -> str:
    """Of a value of a name; numbers that are equal have one digest."""
    described = json.dumps([kind, name, type(one_form(value)).__name__, str(one_form(value))])
    return blake2b(described.encode(), digest_size=DIGEST_LENGTH // 2).hexdigest()


def tags(row: Row) -> list[str]:
    """What filters may ask of a row's metadata and of its path."""
    found = [digest("path", "", place) for place in places_of(row.path)] if row.path else []
    for name, value in metadata_of(row).items():
        if isinstance(value, str | int | float) and value == value:  # lists and objects cannot be asked for
            found.append(digest("metadata", name, value))
        if _is_number(value):
            text = ordered(value)
            found += [digest("range", name, text[:end]) for end in range(1, len(text) + 1)]
    return found


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and isfinite(value)))


def ordered(number: float) -> str:
    """A number as hexadecimal text: the texts of two numbers have the order of the numbers, and none begins another."""
    nearest = _nearest(number)
    [bits] = struct.unpack(">Q", struct.pack(">d", nearest + 0.0))  # -0.0 becomes 0.0
    bits = ~bits & (1 << 64) - 1 if bits >> 63 else bits | 1 << 63
    left = number - int(nearest) if isinstance(number, int) else 0  # what a float cannot hold of a large whole number
    if abs(nearest) < _ALL_WHOLE:
        return f"{bits:0{_FLOAT_DIGITS}x}"
    digits = f"{abs(left):x}"
    rest = f"{len(digits):03x}{digits}"
    if left < 0:
        rest = "".join(_DIGITS[-1 - int(digit, 16)] for digit in rest)
    sign = "8" if left == 0 else "9" if left > 0 else "7"
    return f"{bits:0{_FLOAT_DIGITS}x}{sign}{rest if left else ''}"


def beginnings(sign: str, bound: float) -> list[str]:
    """How the texts begin of all numbers that are >=, >, <= or < a bound."""
    text = ordered(bound)
    if sign == ">=":
        text = text.rstrip("0")  # all that begin alike are as large or larger
    places = list(enumerate(text))
    if sign.startswith(">"):
        found = [text[:place] + digit for place, own in places for digit in _DIGITS if digit > own]
    else:
        found = [text[:place] + digit for place, own in places for digit in _DIGITS if digit < own]
    return [*found, text] if sign.endswith("=") else found


def _nearest(number: float) -> float:
    """The number as a finite float, rounded in a way that keeps the order."""
    try:
        nearest = float(number)
    except OverflowError:
        return _LARGEST if number > 0 else -_LARGEST
    return max(-_LARGEST, min(nearest, _LARGEST))
