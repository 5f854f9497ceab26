"""The file of `tbps index --metadata`: one JSON object per line, each about one image."""

import json
from pathlib import Path
from typing import Any

from tbps.data.paths import name_on_disk
from tbps.files_tbps import MAX_TEXT_BYTES, printable, read_regular

_EXPECTED = 'expected a JSON object, {"file": PATH BELOW THE FOLDER, ...}'


def read_metadata(file: Path, images: list[Path], folder: Path) -> list[dict[str, Any]]:
    """
    Read the metadata of each image. The `file` of a line is a path below the folder.

    Returns:
        One dict per image, in the order of `images`; empty for an image without a line.

    Raises:
        ValueError: the file is not UTF-8; or a line, which the message names, is not such an object, has values that a
            gallery cannot store, or names an unknown file or the file of another line.
    """
    positions = {image: position for position, image in enumerate(images)}
    metadata: list[dict[str, Any]] = [{} for _ in images]
    line_of: dict[Path, int] = {}
    for number, line in _numbered_lines(file):
        where = f"{file}, line {number}"
        name, entry = _parse(where, line)
        image = folder / name_on_disk(name)
        if image not in positions:
            raise ValueError(f"{where}: {image} is not among the {len(images)} images of the folder.")
        if image in line_of:
            raise ValueError(f"{where}: line {line_of[image]} already describes {image}. Merge the two lines.")
        line_of[image] = number
        metadata[positions[image]] = entry
    return metadata


def _numbered_lines(file: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    try:
        text = read_regular(file, MAX_TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 ({error}). Save it as UTF-8.") from error
    return [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _parse(where: str, line: str) -> tuple[str, dict[str, Any]]:
    """The file name and the metadata of a line."""
    from tbps.data.strict_json import unique_keys
    from tbps.gallery.metadata import checked

    try:
        entry = json.loads(line, object_pairs_hook=unique_keys)
    except ValueError as error:
        raise ValueError(f"{where} is not valid JSON ({error}): {_EXPECTED}.") from error
    except RecursionError as error:
        raise ValueError(f"{where} nests lists or objects too deeply: {_EXPECTED}.") from error
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: {_EXPECTED}, not {printable(line.strip()[:40])}.")
    name = entry.pop("file", None)
    if not isinstance(name, str):
        raise ValueError(f'{where}: "file" is {"missing" if name is None else repr(name)}, {_EXPECTED}.')
    try:
        return name, checked(where, entry)
    except TypeError as error:
        raise ValueError(str(error)) from error
