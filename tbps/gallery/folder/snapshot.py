"""A snapshot of a gallery in a folder. It never changes, so several reads agree while others write."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tbps.gallery.checks import GalleryError
from tbps.gallery.filters import Filter
from tbps.gallery.folder.copying import concatenate
from tbps.gallery.folder.faiss_index import Index, is_worthwhile
from tbps.gallery.folder.filter_mask import mask
from tbps.gallery.folder.manifest import Manifest
from tbps.gallery.folder.manifest_entries import IndexEntry, ShardEntry
from tbps.gallery.folder.search import rank
from tbps.gallery.folder.shards import Shard
from tbps.gallery.store import FileInfo, IndexInfo, Row, SearchRequest, StoredHit

_NO_IDS = pa.array([], pa.string())
_BATCH = 4096  # rows, as many as `Gallery.add` commits at once


class Snapshot:
    """The rows that a manifest names. Their files can still be read through memory maps after they are deleted.

    Args:
        directory: the gallery's folder.
        manifest: the manifest.
        before: an older snapshot; files that both name are not opened again.

    Raises:
        GalleryError: a file is missing or damaged.
    """

    def __init__(self, directory: Path, manifest: Manifest, before: "Snapshot | None" = None) -> None:
        self.where = str(directory)
        self.manifest = manifest
        opened = {} if before is None else dict(zip(map(_file, before.manifest.shards), before.shards, strict=True))
        self.shards: list[Shard] = [
            opened[_file(entry)].without(entry.removed)
            if _file(entry) in opened
            else Shard(directory, entry, manifest.origin)
            for entry in manifest.shards
        ]
        self.starts = np.cumsum([0, *map(len, self.shards)])
        self.index: Index | None = None
        if manifest.index is not None:
            same = before is not None and before.manifest.index == manifest.index
            self.index = before.index if before is not None and same else Index(directory, manifest.index)

    def count(self, filter: Filter | None = None) -> int:
        """Count the rows, or those that meet a filter."""
        if filter is None:
            return self.manifest.rows
        return sum(int(_allowed(shard, filter, _NO_IDS).sum()) for shard in self.shards)

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return the ids that the gallery holds. They are read from the files, not held in memory."""
        wanted = pa.array(ids, pa.string())
        parts = (shard.column("id").take(pa.array(_positions(shard, wanted))) for shard in self.shards)
        return {known for part in parts for known in part.to_pylist()}

    def get(self, ids: Sequence[str]) -> list[StoredHit | None]:
        """Return the row and the vector of each id, with a score of 0; None if the gallery does not hold it."""
        wanted = pa.array(ids, pa.string())
        found = [
            self._hit(int(position + start), 0.0)
            for shard, start in zip(self.shards, self.starts[:-1], strict=True)
            for position in _positions(shard, wanted)
        ]
        by_id = {hit.row.id: hit for hit in found}
        return [by_id.get(id) for id in ids]

    def scan(self) -> Iterator[tuple[list[Row], np.ndarray]]:
        """Iterate over all rows and vectors (n, E) float32, in batches and in order of insertion."""
        for shard in self.shards:
            live = np.flatnonzero(~shard.removed)
            for start in range(0, len(live), _BATCH):
                positions = live[start : start + _BATCH]
                yield shard.rows(positions), shard.vectors(positions)

    def iter_rows(self, columns: Sequence[str], filter: Filter | None = None) -> Iterator[list[dict[str, Any]]]:
        """Iterate over some fields of the rows that meet a filter, in batches and in order of insertion."""
        for shard in self.shards:
            chosen = np.flatnonzero(_allowed(shard, filter, _NO_IDS))
            for start in range(0, len(chosen), _BATCH):
                yield shard.fields(columns, chosen[start : start + _BATCH])

    def search(self, queries: np.ndarray, request: SearchRequest) -> list[list[StoredHit]]:
        """
        Return the best rows for each query (Q, E) float32.

        If the index is damaged or not worthwhile, the search is exact.

        Raises:
            GalleryError: mode "index" was requested, and there is no index.
        """
        index = self.index if request.mode == "index" else None
        if request.mode == "index" and index is None:
            raise GalleryError(f"The gallery {self.where} has no index. Build one with `tbps gallery build-index`.")
        index = index if index is not None and index.is_usable(request.nprobe, self.manifest.live_indexed) else None
        excluded = pa.array(sorted(request.excluded), pa.string())
        allowed = [_allowed(shard, request.filter, excluded) for shard in self.shards]
        ranked = rank(queries, self.shards, allowed, request, self.manifest.layout.prefix_dim, index)
        return [[self._hit(int(p), float(s)) for s, p in zip(*best, strict=True)] for best in ranked]

    def _hit(self, position: int, score: float) -> StoredHit:
        number = int(np.searchsorted(self.starts, position, side="right")) - 1
        within = position - int(self.starts[number])
        shard = self.shards[number]
        return StoredHit(shard.row(within), score, shard.vectors(slice(within, within + 1))[0])

    def without(self, ids: Collection[str]) -> tuple[Manifest, int]:
        """Return the manifest in which some rows are marked as removed, and the number of them that there were."""
        wanted = pa.array(sorted(ids), pa.string())
        positions = [_positions(shard, wanted) for shard in self.shards]
        entries = tuple(
            replace(entry, removed=tuple(sorted({*entry.removed, *gone.tolist()}))) if len(gone) else entry
            for entry, gone in zip(self.manifest.shards, positions, strict=True)
        )
        return replace(self.manifest, shards=entries).without_empty(), sum(map(len, positions))

    def shards_of(self, entries: Sequence[ShardEntry]) -> list[Shard]:
        """Return the shards of some entries, which may mark more rows as removed."""
        opened = {entry.file: shard for entry, shard in zip(self.manifest.shards, self.shards, strict=True)}
        return [opened[entry.file].without(entry.removed) for entry in entries]

    def batch(self, ids: Sequence[str]) -> pa.RecordBatch:
        """Return all columns of at least one row, in the order of the ids. The gallery must hold all of them."""
        wanted = pa.array(ids, pa.string())
        positions = [_positions(shard, wanted) for shard in self.shards]
        parts = [shard.batch(some) for shard, some in zip(self.shards, positions, strict=True) if len(some)]
        joined = concatenate(parts, self.manifest.origin)
        return joined.take(pc.index_in(wanted, value_set=joined["id"]))

    def info(self) -> FileInfo:
        """Return how many files there are, and their size."""
        manifest = self.manifest
        entries = [entry for entry in (*manifest.shards, manifest.index) if entry is not None]
        return FileInfo(
            removed=sum(len(shard.removed) for shard in manifest.shards),
            files=len(manifest.files()),
            bytes=sum(entry.size for entry in entries),
            tbps_version=manifest.tbps_version,
            index=None if manifest.index is None else _index_info(manifest.index, manifest.live_indexed),
        )

    def verify(self) -> Iterator[None]:
        """
        Read every byte, one file per step.

        Raises:
            GalleryError: a file is damaged; the message names it.
        """
        for shard in self.shards:
            shard.verify()
            yield
        if self.index is not None:
            self.index.verify()
            yield


def _index_info(entry: IndexEntry, live: int) -> IndexInfo:
    return IndexInfo(
        images=entry.held,
        nlist=entry.lists,
        nprobe=entry.probes,
        recall=entry.recall,
        target_recall=entry.target_recall,
        queries=entry.queries,
        is_used=is_worthwhile(entry, live),
    )


def _file(entry: ShardEntry) -> ShardEntry:
    """The part of an entry that never changes."""
    return replace(entry, removed=())


def _positions(shard: Shard, ids: pa.Array) -> np.ndarray:
    among = pc.is_in(shard.column("id"), value_set=ids).to_numpy(zero_copy_only=False)
    return np.flatnonzero(among & ~shard.removed)


def _allowed(shard: Shard, filter: Filter | None, excluded: pa.Array) -> np.ndarray:
    chosen = ~shard.removed if filter is None else mask(filter, shard.column, len(shard)) & ~shard.removed
    if len(excluded):
        chosen[_positions(shard, excluded)] = False
    return chosen
