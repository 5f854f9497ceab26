"""Manifests of galleries as a forger writes them: with the checksum that belongs to what they say."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tbps.data.atomic_files import checksum


def forge(folder: Path, content: dict[str, Any]) -> None:
    """Write a content as `gallery.json` of a folder."""
    content = {name: value for name, value in content.items() if name != "checksum"}
    text = json.dumps(content, sort_keys=True)
    (folder / "gallery.json").write_text(json.dumps({**content, "checksum": checksum(text.encode())}))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a content, its own first."""
    yield path
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, name))


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The content with another value at a path."""
    content = copy.deepcopy(content)
    inner = content
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return content
