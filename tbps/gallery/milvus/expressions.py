"""Filters as Milvus expressions, without any text from users.

A row stores a digest of each of its values (see `tags`), and an expression compares digests. So nothing has to be
escaped, and no text can inject an expression. A filter also means the same on every version of the server; versions
differ in how they compare JSON.
"""

import json
import re
import sys
from collections.abc import Collection, Sequence

from tbps.gallery.checks import GalleryError
from tbps.gallery.filters import Condition, Filter
from tbps.gallery.milvus.tags import digest, prefixes

NO_TIME = -sys.float_info.max  # stands for a missing timestamp: old servers have no null values
ID_LENGTH = 256
_ID = re.compile(rf"[\w.:/-]{{1,{ID_LENGTH}}}", re.ASCII)
_NOTHING = 'id == ""'


def is_id(text: str) -> bool:
    """Whether a text can be an id in Milvus: it needs no quoting. The ids of `Gallery.add` are hexadecimal."""
    return _ID.fullmatch(text) is not None


def expression(filter: Filter | None, excluded: Collection[str] = ()) -> str:
    """
    Translate a filter into an expression; "" selects all rows.

    Args:
        filter: the filter, if any.
        excluded: ids of rows to leave out.

    Raises:
        GalleryError: the filter has a range over text, which expressions do not support.
    """
    parts = [] if filter is None else _conditions(filter)
    known = sorted(filter_ids(excluded))
    if known:
        parts.append(f"id not in {id_list(known)}")
    return " and ".join(parts)


def filter_ids(ids: Collection[str]) -> list[str]:
    """Return the ids that can exist: no other text is stored as an id."""
    return [one for one in ids if is_id(one)]


def id_list(ids: Collection[str]) -> str:
    """Format ids as a list for an expression."""
    return json.dumps(list(ids))


def _conditions(filter: Filter) -> list[str]:
    parts = []
    for name, values in (("camera", filter.cameras), ("source", filter.sources)):
        if values is not None:
            wanted = json.dumps([digest("row", name, value) for value in values])
            parts.append(f"{name}_digest in {wanted}" if values else _NOTHING)
    if filter.begin is not None:
        parts.append(f"timestamp >= {filter.begin!r}")
    if filter.end is not None:
        parts.append(f"timestamp < {filter.end!r}")
    if filter.begin is not None or filter.end is not None:
        parts.append(f"timestamp > {NO_TIME!r}")
    if filter.paths is not None:
        parts.append(_tagged([digest("path", "", path) for path in filter.paths]))
    parts += [one for condition in filter.conditions for one in _of_metadata(condition)]
    parts += [one for part in filter.all_of for one in _conditions(part)]
    if filter.any_of is not None:
        parts.append(_any(filter.any_of))
    if filter.none_of:
        parts.append(f"not {_any(filter.none_of)}")
    return parts


def _any(filters: Sequence[Filter]) -> str:
    if any(filter.is_empty for filter in filters):
        return f"(not ({_NOTHING}))"
    return f"({' or '.join(f'({expression(filter)})' for filter in filters) or _NOTHING})"


def _of_metadata(condition: Condition) -> list[str]:
    name = condition.name
    if condition.values is not None:
        return [_tagged([digest("metadata", name, value) for value in condition.values])]
    parts = []
    for sign, bound in condition.bounds:
        if isinstance(bound, str):
            raise GalleryError(
                f"The metadata filter {name!r} {sign} {bound!r} compares text, and Milvus compares numbers only. List "
                "the values, or filter timestamps by since and until."
            )
        parts.append(_tagged([digest("range", name, start) for start in prefixes(sign, bound)]))
    return parts


def _tagged(wanted: list[str]) -> str:
    if not wanted:
        return _NOTHING
    if len(wanted) == 1:
        return f'array_contains(tags, "{wanted[0]}")'
    return f"array_contains_any(tags, {json.dumps(wanted)})"
