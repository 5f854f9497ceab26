"""What can still be used of the files in a gallery's folder."""

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.checked_file import CheckedFile, measured
from tbps.gallery.folder.faiss_index import Index
from tbps.gallery.folder.manifest import Manifest, Origin, ShardEntry, file_number
from tbps.gallery.folder.shard_file import described_rows
from tbps.gallery.folder.shards import Shard


@dataclass(frozen=True)
class Salvaged:
    """A shard that is sound, and the gallery that it says it is of."""

    shard: Shard
    entry: ShardEntry
    origin: Origin


@dataclass(frozen=True)
class Fault:
    """A file that cannot be used: its name, why, how many rows it had, where that is known, and the name that it has
    now, unless it is missing."""

    file: str
    reason: str
    rows: int | None = None
    now: str | None = None


def shard_names(directory: Path) -> list[str]:
    """The names of all shards in a folder, in order of their numbers, whatever bears such a name."""
    return [name for _, name in sorted(_numbered(directory, ("shard",)))]


def highest_number(directory: Path) -> int:
    """The highest number in the name of a shard or an index in a folder, -1 if there is none."""
    return max((number for number, _ in _numbered(directory, ("shard", "index"))), default=-1)


def _numbered(directory: Path, kinds: tuple[Literal["shard", "index"], ...]) -> Iterator[tuple[int, str]]:
    for path in directory.iterdir():
        for kind in kinds:
            with suppress(ValueError):  # another file
                yield file_number(path.name, kind), path.name


def by_manifest(directory: Path, manifest: Manifest) -> tuple[list[Salvaged], list[Fault]]:
    """The shards that a manifest names, every byte read."""
    sound, faults = [], []
    for entry in manifest.shards:
        try:
            shard = Shard(directory, entry, manifest.origin)
            shard.verify()
        except GalleryError as error:
            faults.append(_fault(entry.file, error, entry.kept))
        else:
            sound.append(Salvaged(shard, entry, manifest.origin))
    return sound, faults


def by_themselves(directory: Path, names: Iterable[str]) -> tuple[list[Salvaged], list[Fault]]:
    """Shards that no manifest names, by the checksum that each carries."""
    sound, faults = [], []
    for name in names:
        try:
            size, checksums = measured(directory / name)
            file = CheckedFile(directory / name, size, checksums)
            rows, origin = described_rows(file)
            entry = ShardEntry(name, rows, size, checksums)
            shard = Shard(directory, entry, origin)
            shard.verify()
        except GalleryError as error:
            faults.append(_fault(name, error))
        else:
            sound.append(Salvaged(shard, entry, origin))
    return sound, faults


def newest_rows(shards: Sequence[Salvaged]) -> tuple[ShardEntry, ...]:
    """The entries of shards, in which a row is marked as removed where a later shard has a row of its id."""
    entries: list[ShardEntry] = []
    seen = pa.array([], pa.string())
    for one in reversed(shards):
        ids = one.shard.column("id")
        older = pc.is_in(ids, value_set=seen).to_numpy(zero_copy_only=False)
        removed = np.flatnonzero(older | one.shard.removed)
        entries.append(replace(one.entry, removed=tuple(removed.tolist())))
        seen = pa.concat_arrays([seen, ids.filter(pa.array(~one.shard.removed))])
    return tuple(reversed(entries))


def index_fault(directory: Path, manifest: Manifest, shards: Sequence[ShardEntry]) -> Fault | None:
    """Why the index of a manifest cannot be used with the shards that are left; None where it can, or is none."""
    entry = manifest.index
    if entry is None:
        return None
    ends = accumulate(shard.rows for shard in manifest.shards)
    named = [shard.file for shard, end in zip(manifest.shards, ends, strict=True) if end <= entry.rows]
    if [shard.file for shard in shards[: len(named)]] != named:
        return Fault(entry.file, "it names rows of files that are lost")
    try:
        Index(directory, entry).verify()
    except GalleryError as error:
        if is_of_the_process(error.__cause__) and isinstance(error.__cause__, OSError):
            raise
        return Fault(entry.file, str(error))  # an error of another kind is FAISS's, which cannot read it
    return None


def _fault(file: str, error: GalleryError, rows: int | None = None) -> Fault:
    """What is wrong with a file, unless it is the process that cannot read it, or a link leads to a disk that is not
    mounted: then the file may be sound.

    Raises:
        GalleryError: it may not be read, is not there yet, or there is no memory or no descriptor left.
    """
    if is_of_the_process(error.__cause__) or isinstance(error.__cause__, FileNotFoundError):
        raise error
    return Fault(file, str(error), rows)


def is_of_the_process(cause: BaseException | None) -> bool:
    """Whether a file could not be read for a reason that is none of its own."""
    if isinstance(cause, OSError):
        return cause.errno in (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    return isinstance(cause, MemoryError | RuntimeError)  # torch cannot map it
