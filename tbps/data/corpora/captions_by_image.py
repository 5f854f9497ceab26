"""Captions of several files joined by image, outside of memory."""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

TABLES = """
CREATE TABLE images (number INTEGER PRIMARY KEY, name TEXT UNIQUE, path TEXT);
CREATE TABLE captions (number INTEGER PRIMARY KEY, image INTEGER, caption TEXT);
"""
JOINED = """
SELECT images.path, captions.caption FROM captions JOIN images ON images.number = captions.image
ORDER BY images.number, captions.number
"""


def captions_by_image(said: Iterable[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """(path, caption) in any order -> (path, its captions), in the order in which images come first.

    Images are told apart by their file name, as the folders in front of it differ from file to file. The table lies in
    a temporary file of about the captions' size (of SQLite: in SQLITE_TMPDIR or TMPDIR), which goes with the process.
    """
    database = sqlite3.connect("")
    try:
        database.executescript(TABLES)
        for path, caption in said:
            name = Path(path).name
            database.execute("INSERT OR IGNORE INTO images (name, path) VALUES (?, ?)", (name, path))
            database.execute(
                "INSERT INTO captions (image, caption) SELECT number, ? FROM images WHERE name = ?", (caption, name)
            )
        for path, rows in groupby(database.execute(JOINED), key=lambda row: row[0]):
            yield path, [caption for _, caption in rows]
    finally:
        database.close()
