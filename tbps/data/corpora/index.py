"""`corpus.json`, the index of a corpus: its shards, what they hold, and the files they were made from."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tbps.data.atomic_files import content_hash, file_checksum, write_atomically
from tbps.data.strict_json import build_dataclass, parse_json
from tbps.files_tbps import MAX_TEXT_BYTES, read_regular

INDEX = "corpus.json"
_SHARD = re.compile(r"shard-[0-9]{5,}\.parquet")


class CorpusError(ValueError):
    """A corpus cannot be used; the message names the file and the entry or shard at fault."""


@dataclass
class Shard:
    """One parquet file of a corpus."""

    file: str
    rows: int
    bytes: int
    checksum: str  # CRC-32
    skipped: list[str]  # skipped entries, each with the reason

    def __post_init__(self) -> None:
        if not _SHARD.fullmatch(self.file):  # never open a file outside the folder
            raise ValueError(f"{self.file!r:.80} is not the name of a shard")
        if self.rows < 0 or self.bytes < 0:
            raise ValueError(f"{self.file} has {self.rows} rows and {self.bytes} bytes: expected no negative number")

    def exists_in(self, folder: Path) -> bool:
        """Whether the folder has a file of this name and size."""
        path = folder / self.file
        return path.is_file() and path.stat().st_size == self.bytes


@dataclass
class CorpusIndex:
    """The content of `corpus.json`, rewritten after every shard: a shard that it does not list is unfinished."""

    made_from: dict[str, Any]  # see `conversion_settings`
    complete: bool = False
    shards: list[Shard] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The number of images in all shards."""
        return sum(shard.rows for shard in self.shards)

    def write(self, folder: Path) -> None:
        """Write `corpus.json` into the folder of the shards."""
        write_atomically(folder / INDEX, json.dumps(asdict(self), indent=1).encode())


def conversion_settings(name: str, sources: Sequence[Path], images: Path, entries_per_shard: int) -> dict[str, Any]:
    """Describe what determines the bytes of the shards, except the image files. Reads the sources in full."""
    files = [
        {"file": source.name, "bytes": source.stat().st_size, "xxh3_64": content_hash(source)} for source in sources
    ]
    return {"format": name, "sources": files, "images": str(images.resolve()), "entries_per_shard": entries_per_shard}


def read_index(folder: Path) -> CorpusIndex:
    """Read the index of a corpus, complete or not.

    Raises:
        CorpusError: There is no index, or it is damaged.
    """
    path = folder / INDEX
    if not path.is_file():
        raise CorpusError(f"{folder} has no {INDEX}: expected a folder that `tbps data shard` made.")
    try:
        index = build_dataclass(CorpusIndex, parse_json(read_regular(path, MAX_TEXT_BYTES)), "the index")
        if "format" not in index.made_from:
            raise ValueError("it does not name the format of the corpus")
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} is damaged ({error}). Run `tbps data shard` into another folder.") from error
    return index


def find_faults(folder: Path) -> Iterator[str]:
    """Describe every fault of a corpus on disk. Reads every shard in full.

    Raises:
        CorpusError: There is no index, or it is damaged.
    """
    index = read_index(folder)
    if not index.complete:
        yield f"{folder} is not complete: run the same `tbps data shard` again to continue after the last shard"
    for shard in index.shards:
        path = folder / shard.file
        if not path.is_file():
            yield f"{path} is missing: copy it again, or run the same `tbps data shard` to write it again"
        elif not shard.exists_in(folder) or file_checksum(path) != shard.checksum:
            yield f"{path} is damaged: its bytes have changed. Delete it, then copy it again or run `tbps data shard`"
        elif pq.read_metadata(path).num_rows != shard.rows:
            yield f"{path} does not have the {shard.rows} rows that {INDEX} lists"
