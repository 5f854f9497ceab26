"""One state of a gallery in a folder, which nothing changes: what is read of it fits together, whoever writes."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tbps.gallery.checks import GalleryError
from tbps.gallery.filters import Filter
from tbps.gallery.folder.faiss_index import Index
from tbps.gallery.folder.manifest import Manifest, ShardEntry
from tbps.gallery.folder.merging import join
from tbps.gallery.folder.search import rank
from tbps.gallery.folder.shards import Shard, mask
from tbps.gallery.store import Row, SearchRequest, StoredHit

_NOBODY = pa.array([], pa.string())
_SCANNED = 4096  # rows at a time: as many as `Gallery.add` commits


class Snapshot:
    """The rows that a manifest names. Their files stay under their memory maps when they are deleted.

    Args:
        directory: the gallery's folder. before: an older snapshot, whose files that are still named stay open.

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
        """The number of rows, or of those that meet a filter."""
        if filter is None:
            return self.manifest.rows
        return sum(int(_allowed(shard, filter, _NOBODY).sum()) for shard in self.shards)

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are there; the shards' ids are scanned, not held in memory."""
        wanted = pa.array(ids, pa.string())
        parts = (shard.column("id").take(pa.array(_places(shard, wanted))) for shard in self.shards)
        return {known for part in parts for known in part.to_pylist()}

    def get(self, ids: Sequence[str]) -> list[StoredHit | None]:
        """The row and the vector of each id, with a score of 0; None where it is not there."""
        wanted = pa.array(ids, pa.string())
        found = [
            self._found(int(place + start), 0.0)
            for shard, start in zip(self.shards, self.starts[:-1], strict=True)
            for place in _places(shard, wanted)
        ]
        by_id = {one.row.id: one for one in found}
        return [by_id.get(one) for one in ids]

    def scan(self) -> Iterator[tuple[list[Row], np.ndarray]]:
        """All rows and vectors, some thousand at a time, in order of insertion."""
        for shard in self.shards:
            kept = np.flatnonzero(~shard.removed)
            for start in range(0, len(kept), _SCANNED):
                places = kept[start : start + _SCANNED]
                yield shard.rows(places), shard.vectors(places)

    def iter_rows(self, columns: Sequence[str], filter: Filter | None = None) -> Iterator[list[dict[str, Any]]]:
        """Some fields of the rows that meet a filter, some thousand at a time, in order of insertion."""
        for shard in self.shards:
            kept = np.flatnonzero(_allowed(shard, filter, _NOBODY))
            for start in range(0, len(kept), _SCANNED):
                yield shard.fields(columns, kept[start : start + _SCANNED])

    def search(self, queries: np.ndarray, request: SearchRequest) -> list[list[StoredHit]]:
        """The best rows for each query. An index that is damaged, or of few rows, is not asked: the search is exact.

        Raises:
            GalleryError: there is no index, and one is needed.
        """
        index = self.index if request.mode == "index" else None
        if request.mode == "index" and index is None:
            raise GalleryError(f"The gallery {self.where} has no index: `tbps gallery build-index` makes one.")
        index = index if index is not None and index.serves(request.nprobe, self.manifest.left_of_indexed) else None
        excluded = pa.array(sorted(request.excluded), pa.string())
        allowed = [_allowed(shard, request.filter, excluded) for shard in self.shards]
        ranked = rank(queries, self.shards, allowed, request, self.manifest.layout.prefix_dim, index)
        return [[self._found(int(p), float(s)) for s, p in zip(*best, strict=True)] for best in ranked]

    def _found(self, position: int, score: float) -> StoredHit:
        index = int(np.searchsorted(self.starts, position, side="right")) - 1
        place = position - int(self.starts[index])
        shard = self.shards[index]
        return StoredHit(shard.row(place), score, shard.vectors(slice(place, place + 1))[0])

    def without(self, ids: Collection[str]) -> tuple[Manifest, int]:
        """The manifest in which some rows are marked as removed, and the number of those that were there."""
        wanted = pa.array(sorted(ids), pa.string())
        places = [_places(shard, wanted) for shard in self.shards]
        entries = tuple(
            replace(entry, removed=tuple(sorted({*entry.removed, *gone.tolist()}))) if len(gone) else entry
            for entry, gone in zip(self.manifest.shards, places, strict=True)
        )
        return replace(self.manifest, shards=entries).without_empty(), sum(map(len, places))

    def shards_of(self, entries: Sequence[ShardEntry]) -> list[Shard]:
        """Shards by their entries, which may say of more rows that they are removed."""
        opened = {entry.file: shard for entry, shard in zip(self.manifest.shards, self.shards, strict=True)}
        return [opened[entry.file].without(entry.removed) for entry in entries]

    def batch(self, ids: Sequence[str]) -> pa.RecordBatch:
        """All columns of rows that are there, at least one, in the order of their ids."""
        wanted = pa.array(ids, pa.string())
        places = [_places(shard, wanted) for shard in self.shards]
        parts = [shard.batch(some) for shard, some in zip(self.shards, places, strict=True) if len(some)]
        whole = join(parts, self.manifest.origin)
        return whole.take(pc.index_in(wanted, value_set=whole["id"]))

    def verify(self) -> Iterator[None]:
        """Read every byte, one file at each step.

        Raises:
            GalleryError: a file is damaged; the message names it.
        """
        for shard in self.shards:
            shard.verify()
            yield
        if self.index is not None:
            self.index.verify()
            yield


def _file(entry: ShardEntry) -> ShardEntry:
    """An entry without what may change of it."""
    return replace(entry, removed=())


def _places(shard: Shard, ids: pa.Array) -> np.ndarray:
    among = pc.is_in(shard.column("id"), value_set=ids).to_numpy(zero_copy_only=False)
    return np.flatnonzero(among & ~shard.removed)


def _allowed(shard: Shard, filter: Filter | None, excluded: pa.Array) -> np.ndarray:
    chosen = ~shard.removed if filter is None else mask(filter, shard.column, len(shard)) & ~shard.removed
    if len(excluded):
        chosen[_places(shard, excluded)] = False
    return chosen
