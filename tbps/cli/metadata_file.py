"""A file of metadata, a JSON object on each line: `tbps index --metadata`."""

import json
from pathlib import Path
from typing import Any

from tbps.data.paths import name_on_disk
from tbps.files_tbps import MOST_TEXT, printable, read_regular

_EXPECTED = 'expected a JSON object, {"file": PATH BELOW THE FOLDER, ...}'


def read_metadata(file: Path, images: list[Path], folder: Path) -> list[dict[str, Any]]:
    """The metadata of each image, from lines of JSON objects whose `file` is a path below the folder.

    Raises:
        ValueError: a line, which is named, is no such object, holds what a gallery cannot keep, or speaks of a file
            that is not among the images or that another line speaks of; or the file is no UTF-8.
    """
    places = {image: place for place, image in enumerate(images)}
    found: list[dict[str, Any]] = [{} for _ in images]
    said: dict[Path, int] = {}
    for number, line in _lines(file):
        where = f"{file}, line {number}"
        name, entry = _parse(where, line)
        image = folder / name_on_disk(name)
        if image not in places:
            raise ValueError(f"{where}: {image} is not among the {len(images)} images.")
        if image in said:
            raise ValueError(f"{where}: line {said[image]} is about {image} too. Join the two.")
        said[image] = number
        found[places[image]] = entry
    return found


def _lines(file: Path) -> list[tuple[int, str]]:
    """Those that are not blank, with their numbers."""
    try:
        text = read_regular(file, MOST_TEXT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 ({error}): save it as such.") from error
    return [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _parse(where: str, line: str) -> tuple[str, dict[str, Any]]:
    """The file's name, and what else its line says."""
    from tbps.data.strict_json import unique_keys
    from tbps.gallery.metadata import checked

    try:
        entry = json.loads(line, object_pairs_hook=unique_keys)
    except ValueError as error:
        raise ValueError(f"{where} is no JSON ({error}): {_EXPECTED}.") from error
    except RecursionError as error:
        raise ValueError(f"{where} holds lists or objects too deep within each other: {_EXPECTED}.") from error
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: {_EXPECTED}, not {printable(line.strip()[:40])}.")
    name = entry.pop("file", None)
    if not isinstance(name, str):
        raise ValueError(f'{where}: "file" is {"not there" if name is None else repr(name)}, {_EXPECTED}.')
    try:
        return name, checked(where, entry)
    except TypeError as error:
        raise ValueError(str(error)) from error
