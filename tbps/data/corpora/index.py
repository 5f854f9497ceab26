"""`corpus.json`: which shards a corpus has, what they hold, and of which files they were made.

What goes wrong with a corpus.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tbps.data.atomic_files import content_hash, file_checksum, write_atomically
from tbps.data.strict_json import build_dataclass, parse_json
from tbps.files_tbps import MOST_TEXT, read_regular


class CorpusError(ValueError):
    """A corpus is not as expected; the message names the file and the entry or shard at fault."""


INDEX = "corpus.json"
_SHARD = re.compile(r"shard-[0-9]{5,}\.parquet")


@dataclass
class Shard:
    """One file of a corpus."""

    file: str
    rows: int
    bytes: int
    checksum: str  # CRC-32
    skipped: list[str]  # entries left out, and why

    def __post_init__(self) -> None:
        if not _SHARD.fullmatch(self.file):  # never open what lies outside the folder
            raise ValueError(f"{self.file!r:.80} is no name of a shard")
        if self.rows < 0 or self.bytes < 0:
            raise ValueError(f"{self.file} has {self.rows} rows and {self.bytes} bytes")

    def is_there(self, folder: Path) -> bool:
        """Whether a file of its name and size is."""
        path = folder / self.file
        return path.is_file() and path.stat().st_size == self.bytes


@dataclass
class CorpusIndex:
    """What `corpus.json` says. It is written anew after every shard: what it does not list was not finished."""

    made_from: dict[str, Any]  # see `origin`
    complete: bool = False
    shards: list[Shard] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Images of all shards."""
        return sum(shard.rows for shard in self.shards)

    def write(self, folder: Path) -> None:
        """Put it beside the shards."""
        write_atomically(folder / INDEX, json.dumps(asdict(self), indent=1).encode())


def origin(name: str, sources: Sequence[Path], images: Path, entries_per_shard: int) -> dict[str, Any]:
    """What decides the bytes of the shards, apart from the images' own. The sources are read through."""
    files = [
        {"file": source.name, "bytes": source.stat().st_size, "xxh3_64": content_hash(source)} for source in sources
    ]
    return {"format": name, "sources": files, "images": str(images.resolve()), "entries_per_shard": entries_per_shard}


def read_index(folder: Path) -> CorpusIndex:
    """The index of a corpus, whole or begun.

    Raises:
        CorpusError: there is none, or it is damaged.
    """
    path = folder / INDEX
    if not path.is_file():
        raise CorpusError(f"{folder} has no {INDEX}: expected a folder that `tbps data shard` made.")
    try:
        found = build_dataclass(CorpusIndex, parse_json(read_regular(path, MOST_TEXT)), "the index")
        if "format" not in found.made_from:
            raise ValueError("it does not say of which format the corpus is")
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} is damaged ({error}): run `tbps data shard` into another folder.") from error
    return found


def faults(folder: Path) -> Iterator[str]:
    """What is wrong with a corpus on disk; every shard is read through.

    Raises:
        CorpusError: as `read_index`.
    """
    index = read_index(folder)
    if not index.complete:
        yield f"{folder} is not complete: run the same `tbps data shard` again, which goes on after the last shard"
    for shard in index.shards:
        path = folder / shard.file
        if not path.is_file():
            yield f"{path} is missing: copy it, or run the same `tbps data shard`, which writes it anew"
        elif not shard.is_there(folder) or file_checksum(path) != shard.checksum:
            yield f"{path} is damaged: it has not the bytes that were written; delete it, then as for a missing one"
        elif pq.read_metadata(path).num_rows != shard.rows:
            yield f"{path} has not the {shard.rows} rows that {INDEX} states"
