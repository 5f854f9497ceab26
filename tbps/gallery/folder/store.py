"""The store of a gallery in a folder: shards of rows under a manifest."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm.auto import tqdm

from tbps.data.atomic_files import locked_folder
from tbps.evaluation.fingerprint import ModelIdentity
from tbps.files_tbps import VERSION
from tbps.gallery.checks import GalleryError
from tbps.gallery.filters import Filter
from tbps.gallery.folder.build_index import write_index
from tbps.gallery.folder.current_manifest import current_manifest
from tbps.gallery.folder.disk_space import check_room, has_room, named_when_full
from tbps.gallery.folder.fork_lock import ForkLock
from tbps.gallery.folder.info import file_info
from tbps.gallery.folder.leftovers import (
    LOCK_NAME,
    check_free,
    holds_data,
    in_use,
    not_erased,
    nothing_left,
    remove_leftovers,
)
from tbps.gallery.folder.location import Folder
from tbps.gallery.folder.manifest import COPY_NAME, MANIFEST_NAME, Manifest, ShardEntry, file_name
from tbps.gallery.folder.merging import (
    Piece,
    Source,
    crowded,
    due,
    even_size,
    is_full,
    joined,
    moved,
    portions,
    room_needed,
    with_rows,
)
from tbps.gallery.folder.shards import make_batch, write_batch
from tbps.gallery.folder.snapshot import Snapshot
from tbps.gallery.model_identity import check_model
from tbps.gallery.store import ROWS_PER_FILE, TARGET_RECALL, FileInfo, Layout, Row, SearchRequest, StoredHit


class FolderStore:
    """A `VectorStore` in a folder; it holds no vector in memory.

    A reader sees the rows that were there when it opened the store. One process at a time may write; threads that share
    a store take turns. A new store is on disk from its first rows on: what fails before leaves nothing behind.
    """

    def __init__(self, directory: Path, manifest: Manifest, is_new: bool = False) -> None:
        self._folder = Folder(directory)
        self._is_new = is_new
        self._writers = ForkLock()  # held while changes are made
        self._state = ForkLock()  # held while the manifest on disk and the snapshot may differ
        self._snapshot = _take_up(self._folder, manifest)
        if not is_new:
            self._folder.hold()

    @classmethod
    def open(cls, directory: Path, model: ModelIdentity, layout: Layout) -> "FolderStore":
        """
        The store in `directory`, or a new one with this layout. Files' lengths are checked now, their contents when
        they are first read.

        Raises:
            GalleryError: it is damaged, belongs to another model, or the folder holds something else.
        """
        if not Folder(directory).has(MANIFEST_NAME):
            check_free(directory)
            return cls(directory, Manifest(model, layout, VERSION), is_new=True)
        store = cls.read(directory)
        check_model(str(directory), store.manifest.model, model)
        return store

    @classmethod
    def read(cls, directory: Path) -> "FolderStore":
        """
        An existing store, for work that needs no model.

        Raises:
            GalleryError: there is none, or it is damaged.
        """
        if directory.exists() and not directory.is_dir():
            raise GalleryError(f"{directory} is a file: expected a gallery's folder.")
        if not Folder(directory).has(MANIFEST_NAME):
            raise GalleryError(
                f"{directory} is no gallery: it holds no {MANIFEST_NAME}. `tbps index` makes one; where it was lost, "
                f"`tbps gallery repair {directory}` makes it again."
            )
        return cls(directory, current_manifest(directory))

    @property
    def where(self) -> str:
        """The folder."""
        return str(self._folder)

    @property
    def _directory(self) -> Path:
        return self._folder.path

    @property
    def manifest(self) -> Manifest:
        """What the store consists of."""
        return self._snapshot.manifest

    @property
    def model(self) -> ModelIdentity:
        """Whose vectors they are."""
        return self.manifest.model

    @property
    def layout(self) -> Layout:
        """How the vectors are stored."""
        return self.manifest.layout

    def snapshot(self) -> Snapshot:
        """What is there now; nothing changes it."""
        return self._snapshot

    def count(self, filter: Filter | None = None) -> int:
        """The number of rows, or of those that meet a filter."""
        return self._snapshot.count(filter)

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are in the store."""
        return self._snapshot.known(ids)

    def get(self, ids: Sequence[str]) -> list[StoredHit | None]:
        """The row and the vector of each id, with a score of 0; None where it is not there."""
        return self._snapshot.get(ids)

    def scan(self) -> Iterator[tuple[list[Row], np.ndarray]]:
        """All rows and vectors, some thousand at a time, in order of insertion."""
        return self._snapshot.scan()

    def iter_rows(self, columns: Sequence[str], filter: Filter | None = None) -> Iterator[list[dict[str, Any]]]:
        """Some fields of the rows that meet a filter, some thousand at a time, in order of insertion."""
        return self._snapshot.iter_rows(columns, filter)

    def search(self, queries: np.ndarray, request: SearchRequest) -> list[list[StoredHit]]:
        """The best rows for each query."""
        return self._snapshot.search(queries, request)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """
        Around every change: keeps other writers out, takes up what they did before, removes what killed ones left.

        Raises:
            GalleryError: another process is writing, or the folder cannot be written to.
        """
        with self._writers.lock, ExitStack() as stack:
            directory = self._directory
            self._folder.check_own(MANIFEST_NAME, COPY_NAME, LOCK_NAME)
            try:
                stack.enter_context(locked_folder(directory, LOCK_NAME, in_use(directory)))
                self._catch_up()
            except OSError as error:
                raise GalleryError(f"The gallery {directory} cannot be written to: {error}.") from error
            was_new = self._is_new
            try:
                yield
            finally:
                if was_new and not holds_data(directory):
                    self._unmake(directory)  # nothing was written: a file without its manifest would be lost

    def refresh(self) -> None:
        """Take up what other processes have written."""
        if self._is_new and not self._folder.has(MANIFEST_NAME):
            return
        with self._state.lock:
            manifest = current_manifest(self._directory)
            check_model(self.where, manifest.model, self.model)  # another process may have made it in the meantime
            self._is_new = False
            self._folder.hold()
            if manifest != self.manifest:
                self._snapshot = _take_up(self._folder, manifest, self._snapshot)

    def _catch_up(self) -> None:
        self.refresh()
        remove_leftovers(self._directory, self.manifest)

    @property
    def steps(self) -> np.ndarray | None:
        """Those (E,) of the codes that are the vectors; None where vectors are kept whole, or there are none."""
        shards = self._snapshot.shards
        return shards[0].steps if shards and self.layout.dtype == "int8" else None

    def append(self, rows: Sequence[Row], vectors: np.ndarray, steps: np.ndarray | None = None) -> None:
        """Commit N rows and their vectors (N, E): afterwards they outlive anything; before, none of them is there."""
        if self._is_new:
            self._make()
        if self.layout.dtype != "int8" or self.steps is not None:
            steps = self.steps
        self._put(self.manifest, make_batch(rows, vectors, self.manifest.origin, steps))

    def replace(self, rows: Sequence[Row]) -> None:
        """Commit N known rows in the place of what is there, all in one step; their vectors stay. What was there stays
        in the files until these are joined with others, or until `compact`."""
        left, _ = self._snapshot.without([row.id for row in rows])
        self._put(left, with_rows(self._snapshot.batch([row.id for row in rows]), rows))

    def _put(self, left: Manifest, batch: pa.RecordBatch) -> None:
        """Commit what is left of the shards and a batch of rows after them, joined with those of the last shards that
        are due, if there is room for that."""
        before = self.manifest.files()
        count = due([entry.rows for entry in left.shards[left.indexed :]], len(batch))
        if not has_room(self._directory, 2 * sum(entry.size for entry in left.shards[len(left.shards) - count :])):
            count = 0
        stay, last = left.shards[: len(left.shards) - count], left.shards[len(left.shards) - count :]
        sources = [*map(Source, self._snapshot.shards_of(last)), Source(batch)]
        kept = list(map(len, sources))
        parts = portions(kept, even_size(sum(kept)) if count else len(batch))
        if count:
            self._commit(self.manifest.reserving(len(parts)))
        with nothing_left(self._directory) as written:
            new = replace(left, shards=stay)
            for part in parts:
                new = new.with_shard(self._write(new.next_name(), sources, part, written))
            self._commit(new)
        self._erase(before)

    def _make(self) -> None:
        """The manifest comes before any shard, so shards without one mean that it was lost."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._commit(self.manifest)
        self._is_new = False
        self._folder.hold()

    def _unmake(self, directory: Path) -> None:
        self._is_new = True
        self._folder.let_go()
        for name in (MANIFEST_NAME, COPY_NAME):
            (directory / name).unlink(missing_ok=True)

    def _write(self, name: str, sources: Sequence[Source], part: Sequence[Piece], written: list[str]) -> ShardEntry:
        path = self._directory / name
        written.append(name)
        with named_when_full(path):
            return write_batch(path, joined(sources, part, self.manifest.origin))

    def _commit(self, manifest: Manifest) -> None:
        """Put a manifest on disk, and take it up."""
        directory = self._directory
        with self._state.lock:
            try:
                with named_when_full(directory / MANIFEST_NAME):
                    manifest.write(directory)
                self._snapshot = Snapshot(directory, manifest, self._snapshot)
            except BaseException:
                with suppress(GalleryError, OSError):  # it may be on disk nevertheless
                    self.refresh()
                raise

    def remove(self, ids: Collection[str]) -> int:
        """Take rows out of every search, in one step; their bytes stay in the files until `compact`."""
        before = self.manifest
        left, count = self._snapshot.without(ids)
        if count:
            whole = replace(before, shards=tuple(entry for entry in before.shards if entry.file in left.files()))
            try:
                self._commit(left)
            except GalleryError:  # on a full disk first those whose files can go: that makes room to note the others
                if whole == self.manifest or self.manifest != before:
                    raise
                self._commit(whole)
                self._erase(before.files())
                self._commit(self._snapshot.without(ids)[0])
            self._erase(before.files())
        return count

    def _erase(self, before: set[str]) -> None:
        """Delete what is not named any more."""
        if before - self.manifest.files():
            remove_leftovers(self._directory, self.manifest)

    def compact(self, rows_per_file: int, progress: bool = True) -> None:
        """
        Copy all rows into few large files without those that were removed, and erase the old files, and the index with
        them, which names rows by their places. Files that are as they should be from the first on stay.

        It goes file by file, from the last one on, and needs the room of one or two of them. Wherever it is cut short,
        all rows are there, and the next one goes on.

        Raises:
            GalleryError: there is not room enough; nothing was changed.
        """
        fit = [not entry.removed and entry.rows == rows_per_file for entry in self.manifest.shards]
        self._rewrite(fit.index(False) if False in fit else len(fit), rows_per_file, progress)

    def _rewrite(self, first: int, rows_per_file: int, progress: bool) -> None:
        """Copy the rows of all shards from one on."""
        old = self.manifest
        sources = [Source(shard) for shard in self._snapshot.shards[first:]]
        kept = list(map(len, sources))
        parts = portions(kept, rows_per_file)
        check_room(self._directory, room_needed(parts, kept, [entry.size for entry in old.shards[first:]]))
        self._commit(replace(old.reserving(len(parts) + 1), index=None))
        outputs: tuple[ShardEntry, ...] = ()
        with tqdm(total=sum(kept), desc="rows", disable=not progress) as bar:
            for number, part in reversed(list(enumerate(parts))):
                with nothing_left(self._directory) as written:
                    name = file_name(old.next_file + number, "shard")
                    outputs = (self._write(name, sources, part, written), *outputs)
                    left = moved(old.shards[first:], part[0]) if number else ()
                    self._commit(replace(self.manifest, shards=(*old.shards[:first], *left, *outputs)))
                remove_leftovers(self._directory, self.manifest)
                bar.update(outputs[0].rows)
        if not parts:
            self._commit(replace(self.manifest, shards=old.shards[:first]))
        self._catch_up()

    def build_index(
        self, nlist: int | None = None, target_recall: float = TARGET_RECALL, progress: bool = True
    ) -> None:
        """Make an approximate index of all rows, in the place of an older one; rows added later are searched beside it.

        Raises:
            GalleryError: there are no rows. ValueError: more lists than rows, or a share out of range.
            ImportError: FAISS is not installed.
        """
        if not self.count():
            raise GalleryError(f"The gallery {self.where} is empty: add images before making an index.")
        sizes = [entry.rows for entry in self.manifest.shards]
        if crowded(sizes):  # what the last index covered was not joined
            self._rewrite(next(place for place, size in enumerate(sizes) if not is_full(size)), ROWS_PER_FILE, progress)
        path = self._directory / self.manifest.next_name("index")
        with nothing_left(path.parent) as written:
            written.append(path.name)
            with named_when_full(path):
                entry = write_index(path, self._snapshot.shards, nlist, target_recall, progress)
            self._commit(self.manifest.with_index(entry))
        self._catch_up()

    def info(self) -> FileInfo:
        """Describe the files."""
        return file_info(self.manifest)

    def set_aside(self) -> str:
        """Name the damaged files that a repair kept and `compact` does not erase; "" if there are none."""
        return not_erased(self._directory)

    def check(self, progress: bool = True) -> None:
        """
        Read every byte.

        Raises:
            GalleryError: a file is damaged; the message names it.
        """
        now = self._snapshot
        for _ in tqdm(now.verify(), desc="files", total=len(now.manifest.files()), disable=not progress):
            pass


def _take_up(folder: Folder, manifest: Manifest, before: Snapshot | None = None) -> Snapshot:
    """The files of a manifest; or of a newer one, where they were replaced while they were being opened."""
    while True:
        try:
            return Snapshot(folder.path, manifest, before)
        except GalleryError:
            newer = current_manifest(folder.path)
            if newer == manifest:
                raise
            manifest = newer
