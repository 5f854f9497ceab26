"""Read the source files of corpora piece by piece: JSON, parquet, and captions joined by image.

The files hold millions of entries, so none of these functions holds a file in memory.
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
ROWS = 64  # rows of a parquet file, with their images, in memory at a time

TABLES = """
CREATE TABLE images (number INTEGER PRIMARY KEY, name TEXT UNIQUE, path TEXT, last_source TEXT, last_path TEXT);
CREATE TABLE captions (number INTEGER PRIMARY KEY, image INTEGER, caption TEXT);
"""
NEW_IMAGE = "INSERT INTO images (name, path, last_source, last_path) VALUES (?, ?, ?, ?) RETURNING number"
JOINED = """
SELECT images.path, captions.caption FROM captions JOIN images ON images.number = captions.image
ORDER BY images.number, captions.number
"""


def iter_json_items(source: Path, prefix: str) -> Iterator[Any]:
    """Yield the values at an ijson prefix, one at a time: "item" for the elements of a list.

    Raises:
        CorpusError: The file is not JSON, or it is truncated.
    """
    yield from _iter_json(source, import_ijson().items, prefix)


def iter_json_members(source: Path, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield keys and values of the objects at an ijson prefix: "" for the top level, "item" for objects in a list.

    Raises:
        CorpusError: The file is not JSON, or it is truncated.
    """
    yield from _iter_json(source, import_ijson().kvitems, prefix)


def import_ijson() -> Any:
    """Import ijson, which only corpora in JSON need.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import ijson
    except ImportError as error:
        raise ImportError("Reading annotations in JSON needs ijson: pip install 'tbps[corpora]'.") from error
    return ijson


def _iter_json(source: Path, parse: Callable[..., Iterator[Any]], prefix: str) -> Iterator[Any]:
    """Call a function of ijson, and name the file in its errors."""
    json_error = import_ijson().JSONError
    with open_regular(source, None) as file:
        if file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
            file.seek(0)
        try:
            yield from parse(file, prefix)
        except (json_error, UnicodeDecodeError) as error:
            said = error.args[0] if error.args else error
            text = said.decode(errors="replace") if isinstance(said, bytes) else str(error)  # bytes from yajl
            reason = " ".join(text.split("\n")[0].split())
            raise CorpusError(
                f"{source} ({source.stat().st_size} bytes) is not JSON: {reason}, before byte {file.tell()}. "
                "It may be truncated: copy or unpack it again."
            ) from error


def iter_parquet_rows(source: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a parquet file as dictionaries.

    Raises:
        CorpusError: The file is not parquet, or it is damaged.
    """
    try:
        check_regular(source, source.stat())
        with pq.ParquetFile(source) as file:
            for batch in file.iter_batches(ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorpusError(f"{source} cannot be read as parquet ({error}). Copy or download it again.") from error


def captions_by_image(entries: Iterable[tuple[str, str, str]]) -> Iterator[tuple[str, list[str]]]:
    """Group captions by image: (source, path, caption), source by source -> (path, its captions).

    Images come in the order of their first occurrence. They are identified by file name, because the folders before it
    differ between sources. The table is a temporary SQLite file about as large as the captions, in SQLITE_TMPDIR or
    TMPDIR; it disappears with the process.

    Raises:
        CorpusError: One source has two images of the same file name, or there is no room for the table.
    """
    database = sqlite3.connect("")
    try:
        database.executescript(TABLES)
        for source, path, caption in entries:
            image = _image_number(database, source, path)
            database.execute("INSERT INTO captions (image, caption) VALUES (?, ?)", (image, caption))
        for path, rows in groupby(database.execute(JOINED), key=lambda row: row[0]):
            yield path, [caption for _, caption in rows]
    except sqlite3.OperationalError as error:
        raise CorpusError(
            f"The temporary table that joins captions by image failed ({error}). It needs about as much disk space as "
            "the sources, in the folder that SQLITE_TMPDIR names."
        ) from error
    finally:
        database.close()


def _image_number(database: sqlite3.Connection, source: str, path: str) -> int:
    """Find or add an image by its file name, and note its path in this source."""
    name = Path(path).name
    query = "SELECT number, last_source, last_path FROM images WHERE name = ?"
    found = database.execute(query, (name,)).fetchone()
    if found is None:
        return int(database.execute(NEW_IMAGE, (name, path, source, path)).fetchone()[0])
    number, last_source, last_path = found
    if last_source != source:
        database.execute("UPDATE images SET last_source = ?, last_path = ? WHERE number = ?", (source, path, number))
    elif last_path != path:
        raise CorpusError(
            f"{source} has {shown(last_path)} and {shown(path)}. Images are identified by their file name, which must "
            "differ within a file. Rename the images, or convert the folders one by one."
        )
    return number
