"""Filters as expressions of Milvus, without a single character of what users wrote.

A row carries a digest of each of its facts: its camera, its source, each scalar entry of its metadata. A filter asks
for digests, so nothing has to be escaped, text from outside can never become part of an expression, and the meaning is
that of `Filter.fits` on every version of the server: how servers compare JSON differs between them.
"""

import json
import math
import re
import sys
from collections.abc import Collection
from hashlib import blake2b
from typing import Any

from tbps.gallery.filters import Filter, Scalar
from tbps.gallery.home import Row

DIGEST_LENGTH = 24
NO_TIME = -sys.float_info.max  # in place of a timestamp: old servers know no missing values
ID_LENGTH = 256
_ID = re.compile(rf"[\w.:/-]{{1,{ID_LENGTH}}}", re.ASCII)
_NOTHING = 'id == ""'


def is_id(text: str) -> bool:
    """Whether a text may be an id in Milvus: what needs no quoting. The ids of `Gallery.add` are hexadecimal."""
    return _ID.fullmatch(text) is not None


def digest(name: str, value: str | None) -> str:
    """What filters ask of a row's camera or source; empty where it has none."""
    return "" if value is None else _digest("row", name, value)


def tags(row: Row) -> list[str]:
    """What filters may ask of a row's metadata."""
    metadata: dict[str, Any] = json.loads(row.metadata)
    return [_digest("metadata", name, value) for name, value in metadata.items() if _can_be_asked(value)]


def expression(filter: Filter | None, excluded: Collection[str]) -> str:
    """What Milvus is to keep of the rows; empty for all of them."""
    parts = [] if filter is None else _conditions(filter)
    known = sorted(filter_ids(excluded))
    if known:
        parts.append(f"id not in {id_list(known)}")
    return " and ".join(parts)


def filter_ids(ids: Collection[str]) -> list[str]:
    """Those that may be there: no other text is ever stored as an id."""
    return [one for one in ids if is_id(one)]


def id_list(ids: Collection[str]) -> str:
    """Ids as a list in an expression."""
    return json.dumps(list(ids))


def _conditions(filter: Filter) -> list[str]:
    parts = []
    for name, values in (("camera", filter.cameras), ("source", filter.sources)):
        if values is not None:
            wanted = json.dumps([digest(name, value) for value in values])
            parts.append(f"{name}_digest in {wanted}" if values else _NOTHING)
    if filter.begin is not None:
        parts.append(f"timestamp >= {filter.begin!r}")
    if filter.end is not None:
        parts.append(f"timestamp < {filter.end!r}")
    if filter.begin is not None or filter.end is not None:
        parts.append(f"timestamp > {NO_TIME!r}")
    parts += [
        f'array_contains(tags, "{_digest("metadata", name, value)}")' if _can_be_asked(value) else _NOTHING
        for name, value in filter.metadata.items()
    ]
    return parts


def _can_be_asked(value: Any) -> bool:
    """Lists and objects are no values of a filter, and NaN equals nothing."""
    return isinstance(value, str | int | float) and value == value


def _digest(kind: str, name: str, value: Scalar) -> str:
    described = json.dumps([kind, name, type(_plain(value)).__name__, str(_plain(value))])
    return blake2b(described.encode(), digest_size=DIGEST_LENGTH // 2).hexdigest()


def _plain(value: Scalar) -> Scalar:
    """One form for numbers that are equal: 1.0 as 1; True stays a truth value."""
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value
