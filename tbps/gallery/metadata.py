"""What a gallery can keep of an image besides its vector."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tbps.gallery.filters import seconds


def checked(where: str, entry: Any) -> dict[str, Any]:
    """
    Metadata of an image, with moments as text.

    Args:
        where: what messages call it. entry: what a user gave.

    Raises:
        TypeError: it is no dict of what JSON can hold, or a name with a fixed meaning has another type.
        ValueError: a timestamp that is no time.
    """
    if not isinstance(entry, Mapping):
        raise TypeError(f"{where} is a {type(entry).__name__}: expected a dict.")
    plain = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in entry.items()}
    try:
        json.dumps(plain, allow_nan=False, ensure_ascii=False).encode()  # half surrogates are no text
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"{where} cannot be kept as JSON ({error}): use text, finite numbers, truth values, lists and dicts."
        ) from error
    seconds(f"{where}: timestamp", plain.get("timestamp"))
    for name in ("camera", "source"):
        if isinstance(plain.get(name), bool) or not isinstance(plain.get(name), str | int | float | None):
            raise TypeError(f"{where}: {name}={plain[name]!r}, expected text or a number.")
    _check_box(where, plain.get("box"))
    return plain


def _check_box(where: str, box: Any) -> None:
    sides = box if isinstance(box, list | tuple) else ()
    if box is not None and (len(sides) != 4 or not all(isinstance(side, int | float) for side in sides)):
        raise TypeError(f"{where}: box={box!r}, expected four numbers: left, top, right, bottom.")
