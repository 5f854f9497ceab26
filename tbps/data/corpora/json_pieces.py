"""JSON files of any length, one element at a time."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ijson

from tbps.data.corpora.errors import CorpusError
from tbps.regular_file_tbps import open_regular

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def pieces(source: Path, prefix: str) -> Iterator[Any]:
    """The elements at a place: "item" for those of a list.

    Raises:
        CorpusError: the file is not JSON, or it ends too soon.
    """
    yield from read(source, ijson.items, prefix)


def members(source: Path, prefix: str) -> Iterator[tuple[str, Any]]:
    """Keys and values of the objects at a place: "" for that of the whole file, "item" for those in a list.

    Raises:
        CorpusError: as `pieces`.
    """
    yield from read(source, ijson.kvitems, prefix)


def read(source: Path, way: Callable[..., Iterator[Any]], prefix: str) -> Iterator[Any]:
    """What a function of ijson finds, its errors with the name of the file."""
    with open_regular(source, None) as file:
        if file.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
            file.seek(0)
        try:
            yield from way(file, prefix)
        except (ijson.JSONError, UnicodeDecodeError) as error:
            said = error.args[0] if error.args else error
            text = said.decode(errors="replace") if isinstance(said, bytes) else str(error)  # yajl's are bytes
            reason = " ".join(text.split("\n")[0].split())
            raise CorpusError(
                f"{source} ({source.stat().st_size} bytes) is not JSON: {reason}, before byte {file.tell()}. "
                "It may be truncated: copy or unpack it again."
            ) from error
