"""The file of one run's result."""

import json
from pathlib import Path
from typing import Any


class BrokenResultError(ValueError):
    """A file that holds no whole result."""


def read_result(file: Path) -> dict[str, Any]:
    """A run's result.

    Raises:
        BrokenResultError: the file is not whole.
    """
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        message = f"{file} is no whole result ({error}): delete it, and the run is made again."
        raise BrokenResultError(message) from error
    return found
