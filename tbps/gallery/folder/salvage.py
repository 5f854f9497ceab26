"""The files in a damaged gallery's folder that can still be used."""

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.checked_file import CheckedFile, measure
from tbps.gallery.folder.faiss_index import Index
from tbps.gallery.folder.manifest import Manifest
from tbps.gallery.folder.manifest_entries import Kind, Origin, ShardEntry, file_number
from tbps.gallery.folder.shard_file import read_origin
from tbps.gallery.folder.shards import Shard


@dataclass(frozen=True)
class Salvaged:
    """A sound shard, and the origin that it states."""

    shard: Shard
    entry: ShardEntry
    origin: Origin


@dataclass(frozen=True)
class Fault:
    """
    A file that cannot be used.

    Args:
        file: its name.
        reason: why it cannot be used.
        rows: the number of its rows, if known.
        now: its new name; None if it is missing.
    """

    file: str
    reason: str
    rows: int | None = None
    now: str | None = None


def shard_names(directory: Path) -> list[str]:
    """Return the names of all shards in a folder in order of their numbers, whatever their content is."""
    return [name for _, name in sorted(_numbered(directory, ("shard",)))]


def highest_number(directory: Path) -> int:
    """Return the highest number of a shard or an index in a folder; -1 if there is none."""
    return max((number for number, _ in _numbered(directory, ("shard", "index"))), default=-1)


def _numbered(directory: Path, kinds: tuple[Kind, ...]) -> Iterator[tuple[int, str]]:
    for path in directory.iterdir():
        for kind in kinds:
            with suppress(ValueError):  # a file of another kind
                yield file_number(path.name, kind), path.name


def salvage_named(directory: Path, manifest: Manifest) -> tuple[list[Salvaged], list[Fault]]:
    """Read the shards that a manifest names, and separate the sound ones from the others."""
    sound, faults = [], []
    for entry in manifest.shards:
        try:
            shard = Shard(directory, entry, manifest.origin)
            shard.verify()
        except GalleryError as error:
            faults.append(_fault(entry.file, error, entry.live))
        else:
            sound.append(Salvaged(shard, entry, manifest.origin))
    return sound, faults


def salvage_unnamed(directory: Path, names: Iterable[str]) -> tuple[list[Salvaged], list[Fault]]:
    """Read shards that no manifest names, and check them by their seals."""
    sound, faults = [], []
    for name in names:
        try:
            size, checksums = measure(directory / name)
            file = CheckedFile(directory / name, size, checksums)
            rows, origin = read_origin(file)
            entry = ShardEntry(name, rows, size, checksums)
            shard = Shard(directory, entry, origin)
            shard.verify()
        except GalleryError as error:
            faults.append(_fault(name, error))
        else:
            sound.append(Salvaged(shard, entry, origin))
    return sound, faults


def newest_rows(shards: Sequence[Salvaged]) -> tuple[ShardEntry, ...]:
    """Return the entries of shards. Rows whose id occurs in a later shard are marked as removed."""
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
    """Return why the index cannot be used with the remaining shards; None if it can, or if there is none."""
    entry = manifest.index
    if entry is None:
        return None
    ends = accumulate(shard.rows for shard in manifest.shards)
    named = [shard.file for shard, end in zip(manifest.shards, ends, strict=True) if end <= entry.rows]
    if [shard.file for shard in shards[: len(named)]] != named:
        return Fault(entry.file, "it refers to rows of lost files")
    try:
        Index(directory, entry).verify()
    except GalleryError as error:
        if is_process_failure(error.__cause__) and isinstance(error.__cause__, OSError):
            raise
        return Fault(entry.file, str(error))  # FAISS cannot read it
    return None


def _fault(file: str, error: GalleryError, rows: int | None = None) -> Fault:
    """
    Describe why a file cannot be used.

    Raises:
        GalleryError: the file may be sound. This process has no permission, memory or descriptors to read it, or it is
            a link to a disk that is not mounted.
    """
    if is_process_failure(error.__cause__) or isinstance(error.__cause__, FileNotFoundError):
        raise error
    return Fault(file, str(error), rows)


def is_process_failure(cause: BaseException | None) -> bool:
    """Whether reading failed because of this process, not because of the file."""
    if isinstance(cause, OSError):
        return cause.errno in (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    return isinstance(cause, MemoryError | RuntimeError)  # torch could not map it
