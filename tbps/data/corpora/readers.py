"""Captions of several files joined by image, outside of memory.

JSON files of any length, one element at a time.

Rows of a parquet file, some at a time.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tbps.data.corpora.index import CorpusError
from tbps.data.images import shown
from tbps.files_tbps import check_regular, open_regular

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def import_ijson() -> Any:
    """Import ijson, which only corpora in JSON need.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import ijson
    except ImportError as error:
        raise ImportError("Reading annotations in JSON needs ijson: pip install 'tbps[corpora]'.") from error
    return ijson


def pieces(source: Path, prefix: str) -> Iterator[Any]:
    """The elements at a place: "item" for those of a list.

    Raises:
        CorpusError: the file is not JSON, or it ends too soon.
    """
    yield from read(source, import_ijson().items, prefix)


def members(source: Path, prefix: str) -> Iterator[tuple[str, Any]]:
    """Keys and values of the objects at a place: "" for that of the whole file, "item" for those in a list.

    Raises:
        CorpusError: as `pieces`.
    """
    yield from read(source, import_ijson().kvitems, prefix)


def read(source: Path, way: Callable[..., Iterator[Any]], prefix: str) -> Iterator[Any]:
    """What a function of ijson finds, its errors with the name of the file."""
    with open_regular(source, None) as file:
        if file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
            file.seek(0)
        try:
            yield from way(file, prefix)
        except (import_ijson().JSONError, UnicodeDecodeError) as error:
            said = error.args[0] if error.args else error
            text = said.decode(errors="replace") if isinstance(said, bytes) else str(error)  # yajl's are bytes
            reason = " ".join(text.split("\n")[0].split())
            raise CorpusError(
                f"{source} ({source.stat().st_size} bytes) is not JSON: {reason}, before byte {file.tell()}. "
                "It may be truncated: copy or unpack it again."
            ) from error


ROWS = 64  # with their images in memory at a time


def parquet_rows(source: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file as dictionaries.

    Raises:
        CorpusError: the file is no parquet, or damaged.
    """
    try:
        check_regular(source, source.stat())
        with pq.ParquetFile(source) as file:
            for batch in file.iter_batches(ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorpusError(f"{source} cannot be read as parquet ({error}): copy or download it again.") from error


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
