"""From an entry to the row that is written, or to what is wrong with it."""

import os.path
from pathlib import Path
from typing import Any

from tbps.data.corpora.formats import Entry
from tbps.data.images import BadImageError, decode_image, read_image_file, shown

PERSON_IDS = range(-(2**63), 2**63)  # of the column

Row = dict[str, Any]


def read_row(images: Path, entry: Entry) -> tuple[Row | None, list[str]]:
    """The row of an entry, without blank captions, and its faults; None where no image or no caption is left.

    Args:
        images: the folder that the entry's path starts from, see `find_image`.
    """
    captions = [caption for caption in entry.captions if caption.strip()]
    if entry.person_id not in PERSON_IDS:
        return None, [f"{entry.where}: {shown(entry.file_path)} has person id {entry.person_id}, expected 64 bits."]
    faults = []
    if not 0 < len(captions) == len(entry.captions):
        faults = [f"{entry.where}: {shown(entry.file_path)} has a blank caption, or none."]
    source = entry.data if entry.data is not None else find_image(images, entry.file_path)
    try:
        data = source if isinstance(source, bytes) else read_image_file(source)
        # decoded once, so that a training meets no image that breaks; these very bytes, as the file may be overwritten
        decode_image(data, shown(entry.file_path if isinstance(source, bytes) else source))
        image = {"bytes": data, "path": entry.file_path}
    except BadImageError as error:
        return None, [*faults, f"{entry.where}: {error}"]
    row = {"image": image, "captions": captions, "person_id": entry.person_id, "file_path": entry.file_path}
    return (row if captions else None), faults


def find_image(images: Path, file_path: str) -> Path:
    """The file below the folder; where none is there, its bare name in that folder, as some unpack a corpus flat."""
    path = images / file_path
    flat = images / path.name
    # `Path.is_file` raises where a name is too long
    return flat if not os.path.isfile(path) and os.path.isfile(flat) else path
