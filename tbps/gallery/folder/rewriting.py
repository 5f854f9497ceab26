"""Writing rows into new files: with each commit, and when a gallery is compacted."""

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from tqdm.auto import tqdm

from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.copying import RowSource
from tbps.gallery.folder.leftovers import deleted_on_error, remove_leftovers
from tbps.gallery.folder.manifest import Manifest
from tbps.gallery.folder.manifest_entries import ShardEntry, file_name
from tbps.gallery.folder.merging import bytes_needed, divide_rows, entries_before, even_file_size, files_to_merge
from tbps.gallery.folder.state import State

_RESERVE = 1 << 20  # free bytes to leave for manifests


def append_batch(state: State, remaining: Manifest, batch: pa.RecordBatch) -> None:
    """
    Commit a batch of rows, merged with the last files if there is enough disk space.

    Args:
        remaining: the present manifest without the rows that the batch replaces.
    """
    before = state.manifest.files()
    count = files_to_merge([entry.rows for entry in remaining.shards[remaining.indexed :]], len(batch))
    if not _has_space(
        state.directory, 2 * sum(entry.size for entry in remaining.shards[len(remaining.shards) - count :])
    ):
        count = 0
    first = len(remaining.shards) - count
    sources = [*map(RowSource, state.snapshot.shards_of(remaining.shards[first:])), RowSource(batch)]
    live = list(map(len, sources))
    parts = divide_rows(live, even_file_size(sum(live)) if count else len(batch))
    if count:
        state.commit(state.manifest.reserving(len(parts)))
    with deleted_on_error(state.directory) as written:
        new = replace(remaining, shards=remaining.shards[:first])
        for part in parts:
            new = new.with_shard(state.write_shard(new.next_name(), sources, part, written))
        state.commit(new)
    state.erase_replaced(before)


def rewrite(state: State, first: int, rows_per_file: int, progress: bool) -> None:
    """
    Copy the rows of all shards from number `first` on into new files, and drop the index.

    New files are written from the last to the first, and each is committed at once, so the copy needs the disk space of
    one or two files. An interrupted copy loses nothing, and the next one continues it.

    Raises:
        GalleryError: the disk has too little space; nothing was changed.
    """
    old = state.manifest
    sources = [RowSource(shard) for shard in state.snapshot.shards[first:]]
    live = list(map(len, sources))
    parts = divide_rows(live, rows_per_file)
    _check_space(state.directory, bytes_needed(parts, live, [entry.size for entry in old.shards[first:]]))
    state.commit(replace(old.reserving(len(parts) + 1), index=None))
    outputs: tuple[ShardEntry, ...] = ()
    with tqdm(total=sum(live), desc="rows", disable=not progress) as bar:
        for number, part in reversed(list(enumerate(parts))):
            with deleted_on_error(state.directory) as written:
                name = file_name(old.next_file + number, "shard")
                outputs = (state.write_shard(name, sources, part, written), *outputs)
                remaining = entries_before(old.shards[first:], part[0]) if number else ()
                state.commit(replace(state.manifest, shards=(*old.shards[:first], *remaining, *outputs)))
            remove_leftovers(state.directory, state.manifest)
            bar.update(outputs[0].rows)
    if not parts:
        state.commit(replace(state.manifest, shards=old.shards[:first]))
    state.catch_up()


def _has_space(directory: Path, needed: int) -> bool:
    """Whether the disk has this many bytes free. A file system that does not report its size counts as large enough."""
    usage = shutil.disk_usage(directory)
    return usage.total == 0 or usage.free >= needed + _RESERVE


def _check_space(directory: Path, needed: int) -> None:
    if not _has_space(directory, needed):
        free = shutil.disk_usage(directory).free
        raise GalleryError(
            f"Compacting the gallery {directory} needs {(needed + _RESERVE) / 2**20:.0f} MiB of free disk space, and "
            f"{free / 2**20:.0f} MiB are free. Free some space, or choose fewer rows per file. Nothing was changed."
        )
