"""Forged manifests with matching checksums."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tbps.data.atomic_files import checksum


def forge(folder: Path, content: dict[str, Any]) -> None:
    """Write content as the `gallery.json` of a folder, with its checksum."""
    content = {name: value for name, value in content.items() if name != "checksum"}
    text = json.dumps(content, sort_keys=True)
    (folder / "gallery.json").write_text(json.dumps({**content, "checksum": checksum(text.encode())}))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Iterate over the paths of all values in content, from the outside in."""
    yield path
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, name))


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of content with another value at a path."""
    content = copy.deepcopy(content)
    inner = content
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return content
