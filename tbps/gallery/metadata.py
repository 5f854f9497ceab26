"""What a gallery can keep of an image besides its vector."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np

from tbps.gallery.checks import shown
from tbps.gallery.crops import check_box
from tbps.gallery.errors import GalleryError
from tbps.gallery.moments import seconds
from tbps.gallery.scalars import check_digits, name_of, plain

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
