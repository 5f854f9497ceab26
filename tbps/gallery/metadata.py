"""What a gallery can keep of an image besides its vector.

Rows from metadata, and metadata from rows.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np

from tbps.gallery.checks import GalleryError, shown
from tbps.gallery.crops import check_box
from tbps.gallery.moments import seconds
from tbps.gallery.scalars import check_digits, name_of, plain
from tbps.gallery.store import Row

_DEEPEST = 32  # lists and dicts within each other


def checked(where: str, entry: Any) -> dict[str, Any]:
    """
    Metadata of an image, with moments as text and NumPy's scalars as Python's.

    Args:
        where: what messages call it. entry: what a user gave.

    Raises:
        TypeError: it is no dict of what JSON can hold, or a name with a fixed meaning has another type.
        ValueError: a timestamp that is no time, a box without area, a number of too many digits, lists and dicts too
            deep in each other.
    """
    if not isinstance(entry, Mapping):
        raise TypeError(f"{where} is a {type(entry).__name__}: expected a dict.")
    kept: dict[str, Any] = _as_json(where, entry, _DEEPEST)
    try:
        json.dumps(kept, allow_nan=False, ensure_ascii=False).encode()  # half surrogates are no text
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{where} cannot be kept as JSON ({error}): use text, finite numbers, truth values, lists and dicts."
        ) from error
    seconds(f"{where}: timestamp", kept.get("timestamp"))
    for name in ("camera", "source"):
        if kept.get(name) is not None:
            name_of(f"{where}: {name}", kept[name])
    check_box(where, kept.get("box"))
    return kept


def parsed(text: str, id: str | None = None) -> dict[str, Any]:
    """
    The metadata that a row keeps as text.

    Raises:
        GalleryError: somebody else wrote it, and it is no JSON object.
    """
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        whose = f"The metadata {shown(text)}" if id is None else f"The metadata of the image {id!r}"
        raise GalleryError(f"{whose} is no JSON object: remove that image.")
    return found


def _as_json(where: str, value: Any, deeper: int) -> Any:
    """A value as JSON has it; what JSON has nothing for stays, and is refused by its writer.

    Raises:
        TypeError: a name that is no text: 1 and "1" would become one name.
    """
    value = value.item() if isinstance(value, np.datetime64) and value.dtype == "datetime64[D]" else value
    value = value.astype("datetime64[us]").item() if isinstance(value, np.datetime64) else plain(value)
    if isinstance(value, Mapping | list | tuple) and not deeper:
        raise ValueError(f"{where} holds lists or dicts more than {_DEEPEST} deep in each other: make it flatter.")
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"{where}: the name {shown(name)} is a {type(name).__name__}, expected text.")
        return {str.__str__(name): _as_json(where, one, deeper - 1) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(where, one, deeper - 1) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        check_digits(f"{where}: a value", value)
    return value.isoformat() if isinstance(value, date) else value


_TYPED: dict[str, Callable[[str, Any], Any]] = {"camera": name_of, "source": name_of, "timestamp": seconds}


def make_row(id: str, path: str | None, metadata: Mapping[str, Any]) -> Row:
    """A row whose typed fields are those that its metadata has."""
    facts = {name: read(name, metadata[name]) for name, read in _TYPED.items() if metadata.get(name) is not None}
    return Row(id, path, json.dumps(metadata), **facts)


def stored_row(id: str, path: str | None, metadata: str) -> Row:
    """
    The row of metadata that are there already. An earlier version or a stranger may have written them: a camera, source
    or timestamp that would be refused today cannot be asked for, and all of it stays as it is.

    Raises:
        GalleryError: they are no JSON object.
    """
    facts = {name: _fact(name, value) for name, value in parsed(metadata, id).items() if name in _TYPED}
    return Row(id, path, metadata, **facts)


def _fact(name: str, value: Any) -> Any:
    try:
        return None if value is None else _TYPED[name](name, value)
    except (TypeError, ValueError):
        return None


def metadata_of(row: Row) -> dict[str, Any]:
    """The metadata of a row.

    Raises:
        GalleryError: somebody else wrote it, and it is no JSON object.
    """
    return parsed(row.metadata, row.id)


def changed_row(row: Row, path: str | None, changes: Mapping[str, Any]) -> Row:
    """The row with a path, if there is one, and with some names of its metadata set, or taken out where the value is
    None. Its other names and its thumbnail stay.

    Raises:
        GalleryError: of what stays, an earlier version or somebody else wrote what is refused.
    """
    metadata = {**metadata_of(row), **changes}
    kept = {name: value for name, value in metadata.items() if value is not None or name not in changes}
    try:
        changed = make_row(row.id, path or row.path, kept)
    except (TypeError, ValueError) as error:
        raise GalleryError(f"The metadata of the image {shown(row.id)}: {error} Change that too.") from error
    return replace(changed, thumbnail=row.thumbnail)
