"""The home of a gallery in a folder: shards of rows under a manifest."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm.auto import tqdm

from tbps.files import TEMPORARY_SUFFIX, locked_folder
from tbps.fingerprint import ModelIdentity
from tbps.gallery.errors import GalleryError
from tbps.gallery.filters import Filter
from tbps.gallery.gathering import gathered
from tbps.gallery.home import Found, Row, Wanted
from tbps.gallery.identity import check_model
from tbps.gallery.index import Index, write_index
from tbps.gallery.manifest import MANIFEST_NAME, Layout, Manifest, ShardEntry
from tbps.gallery.masks import mask
from tbps.gallery.ranking import rank
from tbps.gallery.shards import Shard, write_shard

ROWS_PER_FILE = 65536  # of a compacted gallery: a quarter of a gigabyte at E = 1024
_LOCK_NAME = "gallery.lock"
_SCANNED = 4096  # rows at a time: as many as `Gallery.add` commits


class Store:
    """A `Home` in a folder; it holds no vector in memory.

    A reader sees the rows that were there when it opened the store. One process at a time may write. A new store is on
    disk from its first rows on: what fails before leaves nothing behind.
    """

    def __init__(self, directory: Path, manifest: Manifest, is_new: bool = False) -> None:
        self._directory = directory
        self._is_new = is_new
        self._take_up(manifest)

    @classmethod
    def open(cls, directory: Path, model: ModelIdentity, layout: Layout) -> "Store":
        """
        The store in `directory`, or a new one with this layout. Files' lengths are checked now, their contents when
        they are first read.

        Raises:
            GalleryError: it is damaged, belongs to another model, or the folder holds something else.
        """
        if not (directory / MANIFEST_NAME).exists():
            from tbps import __version__  # not at the top: tbps itself imports the gallery

            _check_free(directory)
            return cls(directory, Manifest(model, layout, __version__), is_new=True)
        store = cls.read(directory)
        check_model(str(directory), store.manifest.model, model)
        return store

    @classmethod
    def read(cls, directory: Path) -> "Store":
        """
        An existing store, for work that needs no model.

        Raises:
            GalleryError: there is none, or it is damaged.
        """
        if directory.exists() and not directory.is_dir():
            raise GalleryError(f"{directory} is a file: expected a gallery's folder.")
        if not (directory / MANIFEST_NAME).exists():
            raise GalleryError(f"{directory} is no gallery: it holds no {MANIFEST_NAME}. `tbps index` makes one.")
        return cls(directory, Manifest.read(directory))

    @property
    def where(self) -> str:
        """The folder."""
        return str(self._directory)

    @property
    def manifest(self) -> Manifest:
        """What the store consists of."""
        return self._manifest

    @property
    def model(self) -> ModelIdentity:
        """Whose vectors they are."""
        return self.manifest.model

    @property
    def layout(self) -> Layout:
        """How the vectors are stored."""
        return self.manifest.layout

    def _take_up(self, manifest: Manifest) -> None:
        """`_set_manifest`, or that of a newer one, where its files were replaced while they were being opened."""
        try:
            self._set_manifest(manifest)
        except GalleryError:
            newer = Manifest.read(self._directory)
            if newer == manifest:
                raise
            self._take_up(newer)

    def _set_manifest(self, manifest: Manifest, kept: Sequence[Shard] = ()) -> None:
        """Take up a manifest, whose first shards are open already."""
        self._manifest = manifest
        self._shards = [*kept, *(Shard(self._directory, entry) for entry in manifest.shards[len(kept) :])]
        self._starts = np.cumsum([0, *(len(shard) for shard in self._shards)])
        self._index = None if manifest.index is None else Index(self._directory, manifest.index)

    def count(self) -> int:
        """The number of rows."""
        return self.manifest.rows

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are in the store; the shards' ids are scanned, not held in memory."""
        wanted = pa.array(ids, pa.string())
        found = (self._places(shard, wanted) for shard in self._shards)
        parts = (shard.column("id").take(places) for shard, places in zip(self._shards, found, strict=True))
        return {known for part in parts for known in part.to_pylist()}

    def get(self, ids: Sequence[str]) -> list[Found | None]:
        """The row and the vector of each id, with a score of 0; None where it is not there."""
        wanted = pa.array(ids, pa.string())
        found = [
            self._found(int(place + start), 0.0)
            for shard, start in zip(self._shards, self._starts[:-1], strict=True)
            for place in self._places(shard, wanted)
        ]
        by_id = {one.row.id: one for one in found}
        return [by_id.get(one) for one in ids]

    @staticmethod
    def _places(shard: Shard, ids: pa.Array) -> np.ndarray:
        among = pc.is_in(shard.column("id"), value_set=ids).to_numpy(zero_copy_only=False)
        return np.flatnonzero(among & ~shard.removed)

    def scan(self) -> Iterator[tuple[list[Row], np.ndarray]]:
        """All rows and vectors, some thousand at a time, in order of insertion."""
        for shard in self._shards:
            kept = np.flatnonzero(~shard.removed)
            for start in range(0, len(kept), _SCANNED):
                places = kept[start : start + _SCANNED]
                yield shard.rows(places), shard.vectors(places)

    def search(self, queries: np.ndarray, wanted: Wanted) -> list[list[Found]]:
        """The best rows for each query."""
        if wanted.mode == "index" and self._index is None:
            raise GalleryError(f"The gallery {self._directory} has no index: `tbps gallery index` makes one.")
        excluded = pa.array(sorted(wanted.excluded), pa.string())
        allowed = [self._allowed(shard, wanted.filter, excluded) for shard in self._shards]
        ranked = rank(queries, self._shards, allowed, wanted, self.layout.prefix_dim, self._index)
        return [[self._found(int(p), float(s)) for s, p in zip(*best, strict=True)] for best in ranked]

    def _allowed(self, shard: Shard, filter: Filter | None, excluded: pa.Array) -> np.ndarray:
        chosen = ~shard.removed if filter is None else mask(filter, shard.column, len(shard)) & ~shard.removed
        if len(excluded):
            chosen[self._places(shard, excluded)] = False
        return chosen

    def _found(self, position: int, score: float) -> Found:
        index = int(np.searchsorted(self._starts, position, side="right")) - 1
        place = position - int(self._starts[index])
        shard = self._shards[index]
        return Found(shard.row(place), score, shard.vectors(slice(place, place + 1))[0])

    @contextmanager
    def writing(self) -> Iterator[None]:
        """
        Around every change: keeps other writers out, takes up what they did before, removes what killed ones left.

        Raises:
            GalleryError: another process is writing.
        """
        busy = f"Another process is writing to the gallery {self._directory}: wait until it has ended, then try again."
        with locked_folder(self._directory, _LOCK_NAME, GalleryError(busy)):
            self._catch_up()
            was_new = self._is_new
            try:
                yield
            finally:
                if was_new and {path.name for path in self._directory.glob("*")} <= {MANIFEST_NAME, _LOCK_NAME}:
                    self._is_new = True  # nothing was written: a file without its manifest would be lost
                    (self._directory / MANIFEST_NAME).unlink(missing_ok=True)

    def refresh(self) -> None:
        """Take up what other processes have written."""
        if self._is_new and not (self._directory / MANIFEST_NAME).exists():
            return
        manifest = Manifest.read(self._directory)
        check_model(self.where, manifest.model, self.model)  # another process may have made it in the meantime
        self._is_new = False
        if manifest != self._manifest:
            self._take_up(manifest)

    def _catch_up(self) -> None:
        self.refresh()
        for path in self._directory.iterdir():
            if self.manifest.is_past(path.name):  # of a file in use the memory map stays
                path.unlink()
        for leftover in self._directory.glob(f"*{TEMPORARY_SUFFIX}"):
            leftover.unlink()

    def append(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        """Commit N rows and their vectors (N, E): afterwards they outlive anything; before, none of them is there."""
        if self._is_new:
            self._make()
        entry = self._write_shard(self.manifest, rows, vectors)
        self._commit(self.manifest.with_shard(entry), self._shards)

    def _make(self) -> None:
        """The manifest comes before any shard, so shards without one mean that it was lost."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._write_manifest(self.manifest)
        self._is_new = False

    def _write_shard(self, manifest: Manifest, rows: Sequence[Row], vectors: np.ndarray) -> ShardEntry:
        path = self._directory / manifest.next_name()
        steps = self._shards[0].steps if self._shards and manifest.layout.dtype == "int8" else None
        with _said_when_full(path):
            return write_shard(path, rows, vectors, manifest.layout.dtype, steps)

    def _write_manifest(self, manifest: Manifest) -> None:
        with _said_when_full(self._directory / MANIFEST_NAME):
            manifest.write(self._directory)

    def _commit(self, manifest: Manifest, kept: Sequence[Shard] = ()) -> None:
        self._write_manifest(manifest)
        self._set_manifest(manifest, kept)

    def replace(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        """Commit N known rows and their vectors (N, E) in the place of what is there, all in one step. What was there
        stays in the files until `compact`."""
        entry = self._write_shard(self.manifest, rows, vectors)
        left, _ = self._without([row.id for row in rows])
        self._commit(left.with_shard(entry))

    def remove(self, ids: Collection[str]) -> int:
        """Take rows out of every search, in one step; their bytes stay in the files until `compact`."""
        left, count = self._without(ids)
        if count:
            self._commit(left)
        return count

    def _without(self, ids: Collection[str]) -> tuple[Manifest, int]:
        """The manifest in which some rows are marked as removed, and the number of those that were there."""
        wanted = pa.array(sorted(ids), pa.string())
        places = [self._places(shard, wanted) for shard in self._shards]
        entries = tuple(
            replace(entry, removed=tuple(sorted({*entry.removed, *gone.tolist()})))
            for entry, gone in zip(self.manifest.shards, places, strict=True)
        )
        return replace(self.manifest, shards=entries), sum(map(len, places))

    def compact(self, rows_per_shard: int, progress: bool = True) -> None:
        """
        Write all rows anew, into few large files without those that were removed, then erase the old files, and the
        index with them, which names rows by their places.

        Vectors kept as int8 are rounded anew to the steps of their new file. Needs the room of the gallery once more
        while it runs. Killed before its last step, it has changed nothing.
        """
        new = replace(self.manifest, shards=(), index=None)
        with tqdm(total=self.count(), desc="rows", disable=not progress) as bar:
            for rows, vectors in gathered(self.scan(), rows_per_shard):
                new = new.with_shard(self._write_shard(new, rows, vectors))
                bar.update(len(rows))
        self._commit(new)
        self._catch_up()

    def build_index(self, lists: int | None = None, progress: bool = True) -> None:
        """Make an approximate index of all rows, in the place of an older one; rows added later are searched beside it.

        Raises:
            GalleryError: there are no rows. ImportError: FAISS is not installed.
        """
        if not self._shards:
            raise GalleryError(f"The gallery {self._directory} is empty: add images before making an index.")
        path = self._directory / self.manifest.next_name("index")
        with _said_when_full(path):
            entry = write_index(path, self._shards, lists, progress)
        self._commit(self.manifest.with_index(entry), self._shards)
        self._catch_up()

    def check(self, progress: bool = True) -> None:
        """
        Read every byte.

        Raises:
            GalleryError: a file is damaged; the message names it.
        """
        opened = [*self._shards, *([] if self._index is None else [self._index])]
        for file in tqdm(opened, desc="files", disable=not progress):
            file.verify()


@contextmanager
def _said_when_full(path: Path) -> Iterator[None]:
    """Around the writing of a gallery's file: an error names it, and says what is kept."""
    try:
        yield
    except OSError as error:
        raise GalleryError(
            f"{path} could not be written ({error.strerror}): make room and repeat the command; what the gallery held "
            "before is kept."
        ) from error


def _check_free(directory: Path) -> None:
    """Refuse a place where no new store can be."""
    try:
        names = {path.name for path in directory.iterdir() if path.suffix != TEMPORARY_SUFFIX}
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise GalleryError(f"{directory} is a file: expected the gallery's folder, or a new one.") from None
    others = sorted(names - {_LOCK_NAME})
    if others and MANIFEST_NAME not in names:
        raise GalleryError(
            f"{directory} holds files ({', '.join(others[:3])}, ...) but no {MANIFEST_NAME}: choose a new or "
            f"empty folder, or restore the {MANIFEST_NAME} that was lost."
        )
