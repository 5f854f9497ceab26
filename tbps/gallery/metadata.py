"""Metadata of images: check what a user gave, make rows of it, read it back, change it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np

from tbps.gallery.checks import GalleryError, shown
from tbps.gallery.crops import check_box
from tbps.gallery.scalars import check_digits, name_of, plain
from tbps.gallery.store import Row, VectorStore
from tbps.gallery.timestamps import seconds

_MAX_DEPTH = 32  # of nested lists and dicts


def checked(where: str, entry: Any) -> dict[str, Any]:
    """
    Check the metadata of an image, and convert timestamps to text and NumPy scalars to Python's.

    Args:
        where: the name of the metadata in error messages.
        entry: what the user gave.

    Raises:
        TypeError: it is not a dict of what JSON can hold, or a name with a fixed meaning has another type.
        ValueError: an invalid timestamp, a box without area, a number of too many digits, or lists and dicts nested too
            deep.
    """
    if not isinstance(entry, Mapping):
        raise TypeError(f"{where} is a {type(entry).__name__}: expected a dict.")
    metadata: dict[str, Any] = _as_json(where, entry, _MAX_DEPTH)
    try:
        json.dumps(metadata, allow_nan=False, ensure_ascii=False).encode()  # fails for half surrogates
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{where} cannot be stored as JSON ({error}): use text, finite numbers, booleans, lists and dicts."
        ) from error
    seconds(f"{where}: timestamp", metadata.get("timestamp"))
    for name in ("camera", "source"):
        if metadata.get(name) is not None:
            name_of(f"{where}: {name}", metadata[name])
    check_box(where, metadata.get("box"))
    return metadata


def parsed(text: str, id: str | None = None) -> dict[str, Any]:
    """
    Parse the metadata of a row.

    Raises:
        GalleryError: it is not a JSON object, so another program wrote it.
    """
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        whose = f"The metadata {shown(text)}" if id is None else f"The metadata of the image {id!r}"
        raise GalleryError(f"{whose} is not a JSON object: remove that image.")
    return found


def _as_json(where: str, value: Any, depth: int) -> Any:
    """
    Convert a value to what JSON has. A value of any other type stays, and the JSON encoder refuses it.

    Raises:
        TypeError: a name is not text; 1 and "1" would become one name.
    """
    value = value.item() if isinstance(value, np.datetime64) and value.dtype == "datetime64[D]" else value
    value = value.astype("datetime64[us]").item() if isinstance(value, np.datetime64) else plain(value)
    if isinstance(value, Mapping | list | tuple) and not depth:
        raise ValueError(f"{where} holds lists or dicts nested more than {_MAX_DEPTH} deep: flatten it.")
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"{where}: the name {shown(name)} is a {type(name).__name__}, expected text.")
        return {str.__str__(name): _as_json(where, one, depth - 1) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(where, one, depth - 1) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        check_digits(f"{where}: a value", value)
    return value.isoformat() if isinstance(value, date) else value


_TYPED: dict[str, Callable[[str, Any], Any]] = {"camera": name_of, "source": name_of, "timestamp": seconds}


def make_row(id: str, path: str | None, metadata: Mapping[str, Any]) -> Row:
    """Make a row, whose camera, source and timestamp are those of its metadata."""
    facts = {name: read(name, metadata[name]) for name, read in _TYPED.items() if metadata.get(name) is not None}
    return Row(id, path, json.dumps(metadata), **facts)


def stored_row(id: str, path: str | None, metadata: str) -> Row:
    """
    Make a row of stored metadata, which stay as they are.

    An earlier version or another program may have written them. A camera, source or timestamp that would be refused
    today cannot be filtered by.

    Raises:
        GalleryError: the metadata are not a JSON object.
    """
    facts = {name: _fact(name, value) for name, value in parsed(metadata, id).items() if name in _TYPED}
    return Row(id, path, metadata, **facts)


def _fact(name: str, value: Any) -> Any:
    try:
        return None if value is None else _TYPED[name](name, value)
    except (TypeError, ValueError):
        return None


def metadata_of(row: Row) -> dict[str, Any]:
    """
    Parse the metadata of a row.

    Raises:
        GalleryError: it is not a JSON object, so another program wrote it.
    """
    return parsed(row.metadata, row.id)


def changed_row(row: Row, path: str | None, changes: Mapping[str, Any]) -> Row:
    """
    Change the path and the metadata of a row. Its thumbnail and all other metadata stay.

    Args:
        path: the new path; None keeps the old one.
        changes: metadata to set. A value of None deletes the name.

    Raises:
        GalleryError: the metadata that stay would be refused today; an earlier version or another program wrote them.
    """
    metadata = {**metadata_of(row), **changes}
    kept = {name: value for name, value in metadata.items() if value is not None or name not in changes}
    try:
        changed = make_row(row.id, path or row.path, kept)
    except (TypeError, ValueError) as error:
        raise GalleryError(
            f"The stored metadata of the image {shown(row.id)} is not valid: {error} Include it in this update."
        ) from error
    return replace(changed, thumbnail=row.thumbnail)


def update_rows(
    store: VectorStore, ids: Sequence[str], change: Callable[[int, Row], Row]
) -> tuple[list[str], list[str]]:
    """
    Change rows of a store that is open for writing, in one commit.

    Args:
        ids: the ids of the rows, each once.
        change: returns the new row, given the position among the ids and the stored row.

    Returns:
        The ids of rows that changed, and the ids that the store does not hold.
    """
    rows = store.get(ids)
    held = [(place, found.row) for place, found in enumerate(rows) if found is not None]
    new = [row for row, old in ((change(place, row), row) for place, row in held) if row != old]
    if new:
        store.replace(new)
    return [row.id for row in new], [id for id, found in zip(ids, rows, strict=True) if found is None]
