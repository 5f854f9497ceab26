"""Tags: digests of a row's values, stored as an array that filters in Milvus compare.

A number also has tags for ranges. It is written as hexadecimal text that sorts like the number, and each prefix of that
text is a tag. A range is a short list of prefixes. So filters by range only test for tags too, with the same result on
every version of the server; versions differ in how they compare JSON.
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
_EXACT = 2.0**53  # floats hold every integer below it
_LARGEST = sys.float_info.max


def digest(kind: str, name: str, value: Scalar) -> str:
    """Return the digest of a value under a name. Equal numbers have the same digest."""
    described = json.dumps([kind, name, type(one_form(value)).__name__, str(one_form(value))])
    return blake2b(described.encode(), digest_size=DIGEST_LENGTH // 2).hexdigest()


def tags(row: Row) -> list[str]:
    """Return the tags of a row's metadata and path."""
    found = [digest("path", "", place) for place in places_of(row.path)] if row.path else []
    for name, value in metadata_of(row).items():
        if isinstance(value, str | int | float) and value == value:  # filters do not compare lists and objects
            found.append(digest("metadata", name, value))
        if _is_number(value):
            text = ordered(value)
            found += [digest("range", name, text[:end]) for end in range(1, len(text) + 1)]
    return found


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and isfinite(value)))


def ordered(number: float) -> str:
    """Write a number as hexadecimal text. The texts sort like the numbers, and none is a prefix of another."""
    nearest = _nearest(number)
    [bits] = struct.unpack(">Q", struct.pack(">d", nearest + 0.0))  # -0.0 becomes 0.0
    bits = ~bits & (1 << 64) - 1 if bits >> 63 else bits | 1 << 63
    left = (
        number - int(nearest) if isinstance(number, int) else 0
    )  # the rest of a large integer that a float cannot hold
    if abs(nearest) < _EXACT:
        return f"{bits:0{_FLOAT_DIGITS}x}"
    digits = f"{abs(left):x}"
    rest = f"{len(digits):03x}{digits}"
    if left < 0:
        rest = "".join(_DIGITS[-1 - int(digit, 16)] for digit in rest)
    sign = "8" if left == 0 else "9" if left > 0 else "7"
    return f"{bits:0{_FLOAT_DIGITS}x}{sign}{rest if left else ''}"


def prefixes(sign: str, bound: float) -> list[str]:
    """Return the prefixes of the texts of all numbers that are >=, >, <= or < a bound."""
    text = ordered(bound)
    if sign == ">=":
        text = text.rstrip("0")  # every text with this prefix is at least as large
    digits = list(enumerate(text))
    if sign.startswith(">"):
        found = [text[:position] + digit for position, own in digits for digit in _DIGITS if digit > own]
    else:
        found = [text[:position] + digit for position, own in digits for digit in _DIGITS if digit < own]
    return [*found, text] if sign.endswith("=") else found


def _nearest(number: float) -> float:
    """Round a number to a finite float so that the order of numbers stays."""
    try:
        nearest = float(number)
    except OverflowError:
        return _LARGEST if number > 0 else -_LARGEST
    return max(-_LARGEST, min(nearest, _LARGEST))
