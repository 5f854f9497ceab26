"""From an entry to the row that is written, or to what is wrong with it."""

from pathlib import Path
from typing import Any

from tbps.data.corpora.formats import Entry
from tbps.data.images import BadImageError, open_image

Row = dict[str, Any]


def read_row(images: Path, entry: Entry) -> tuple[Row | None, list[str]]:
    """The row of an entry, without blank captions, and its faults; None where no image or no caption is left.

    Args:
        images: the folder that the entry's path starts from; where it is not there, the file's name is looked for
            in that folder itself, as some unpack a corpus flat.
    """
    captions = [caption for caption in entry.captions if caption.strip()]
    faults = []
    if not 0 < len(captions) == len(entry.captions):
        faults = [f"{entry.where}: {entry.file_path} has a blank caption, or none."]
    path = images / entry.file_path
    if not path.is_file() and (images / path.name).is_file():
        path = images / path.name
    try:
        open_image(path)  # decoded once, so that a training meets no image that breaks
        image = {"bytes": path.read_bytes(), "path": entry.file_path}
    except BadImageError as error:
        return None, [*faults, f"{entry.where}: {error}"]
    row = {"image": image, "captions": captions, "person_id": entry.person_id, "file_path": entry.file_path}
    return (row if captions else None), faults
