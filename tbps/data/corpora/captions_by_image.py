"""Captions of several files joined by image, outside of memory."""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from tbps.data.corpora.errors import CorpusError
from tbps.data.images import shown

TABLES = """
CREATE TABLE images (number INTEGER PRIMARY KEY, name TEXT UNIQUE, path TEXT, source TEXT, there TEXT);
CREATE TABLE captions (number INTEGER PRIMARY KEY, image INTEGER, caption TEXT);
"""
NEW_IMAGE = "INSERT INTO images (name, path, source, there) VALUES (?, ?, ?, ?) RETURNING number"
JOINED = """
SELECT images.path, captions.caption FROM captions JOIN images ON images.number = captions.image
ORDER BY images.number, captions.number
"""


def captions_by_image(said: Iterable[tuple[str, str, str]]) -> Iterator[tuple[str, list[str]]]:
    """(source, path, caption), source by source -> (path, its captions), in the order in which images come first.

    Images are told apart by their file name, as the folders in front of it differ from source to source. The table
    lies in a temporary file of about the captions' size (of SQLite: in SQLITE_TMPDIR or TMPDIR), which goes with the
    process.

    Raises:
        CorpusError: one source has two images of one file name; there is no room for the table.
    """
    database = sqlite3.connect("")
    try:
        database.executescript(TABLES)
        for source, path, caption in said:
            image = number_of(database, source, path)
            database.execute("INSERT INTO captions (image, caption) VALUES (?, ?)", (image, caption))
        for path, rows in groupby(database.execute(JOINED), key=lambda row: row[0]):
            yield path, [caption for _, caption in rows]
    except sqlite3.OperationalError as error:
        raise CorpusError(
            f"The temporary table that joins captions by image failed ({error}): it takes about as much disk as the "
            "sources, in the folder that SQLITE_TMPDIR names."
        ) from error
    finally:
        database.close()


def number_of(database: sqlite3.Connection, source: str, path: str) -> int:
    """The number of an image, which is noted with its path in this source."""
    name = Path(path).name
    found = database.execute("SELECT number, source, there FROM images WHERE name = ?", (name,)).fetchone()
    if found is None:
        return int(database.execute(NEW_IMAGE, (name, path, source, path)).fetchone()[0])
    number, last, there = found
    if last != source:
        database.execute("UPDATE images SET source = ?, there = ? WHERE number = ?", (source, path, number))
    elif there != path:
        raise CorpusError(
            f"{source} names {shown(there)} and {shown(path)}: images are told apart by their file name, which must "
            "differ within a file. Rename the images, or convert the folders one by one."
        )
    return number
