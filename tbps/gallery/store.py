"""The home of a gallery in a folder: shards of rows under a manifest."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from tbps.files import locked_folder
from tbps.fingerprint import ModelIdentity
from tbps.forks import ForkLock
from tbps.gallery.errors import GalleryError
from tbps.gallery.filters import Filter
from tbps.gallery.folder import Folder
from tbps.gallery.gathering import gathered
from tbps.gallery.home import Found, Row, Wanted
from tbps.gallery.identity import check_model
from tbps.gallery.index import write_index
from tbps.gallery.leftovers import holds_data, is_half_written, nothing_left, remove_leftovers
from tbps.gallery.manifest import COPY_NAME, MANIFEST_NAME, Layout, Manifest, ShardEntry
from tbps.gallery.shards import write_shard
from tbps.gallery.snapshot import Snapshot

ROWS_PER_FILE = 65536  # of a compacted gallery: a quarter of a gigabyte at E = 1024
_LOCK_NAME = "gallery.lock"


class Store:
    """A `Home` in a folder; it holds no vector in memory.

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
    def open(cls, directory: Path, model: ModelIdentity, layout: Layout) -> "Store":
        """
        The store in `directory`, or a new one with this layout. Files' lengths are checked now, their contents when
        they are first read.

        Raises:
            GalleryError: it is damaged, belongs to another model, or the folder holds something else.
        """
        if not Folder(directory).has(MANIFEST_NAME):
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
        if not Folder(directory).has(MANIFEST_NAME):
            raise GalleryError(
                f"{directory} is no gallery: it holds no {MANIFEST_NAME}. `tbps index` makes one; where it was lost, "
                f"`tbps gallery repair {directory}` makes it again."
            )
        return cls(directory, Manifest.read(directory))

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

    def get(self, ids: Sequence[str]) -> list[Found | None]:
        """The row and the vector of each id, with a score of 0; None where it is not there."""
        return self._snapshot.get(ids)

    def scan(self) -> Iterator[tuple[list[Row], np.ndarray]]:
        """All rows and vectors, some thousand at a time, in order of insertion."""
        return self._snapshot.scan()

    def listed(self, columns: Sequence[str], filter: Filter | None = None) -> Iterator[list[dict[str, Any]]]:
        """Some fields of the rows that meet a filter, some thousand at a time, in order of insertion."""
        return self._snapshot.listed(columns, filter)

    def search(self, queries: np.ndarray, wanted: Wanted) -> list[list[Found]]:
        """The best rows for each query."""
        return self._snapshot.search(queries, wanted)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """
        Around every change: keeps other writers out, takes up what they did before, removes what killed ones left.

        Raises:
            GalleryError: another process is writing, or the folder cannot be written to.
        """
        with self._writers.lock, ExitStack() as stack:
            directory = self._directory
            busy = GalleryError(
                f"Another process is writing to the gallery {directory}: wait until it has ended, then try again."
            )
            self._check_links()
            try:
                stack.enter_context(locked_folder(directory, _LOCK_NAME, busy))
            except OSError as error:
                raise GalleryError(f"The gallery {directory} cannot be written to: {error}.") from error
            self._catch_up()
            was_new = self._is_new
            try:
                yield
            finally:
                if was_new and not holds_data(directory):
                    self._unmake(directory)  # nothing was written: a file without its manifest would be lost

    def _check_links(self) -> None:
        for name in (MANIFEST_NAME, _LOCK_NAME):
            self._folder.has(name)
        self._folder.check_own(MANIFEST_NAME, COPY_NAME, _LOCK_NAME)

    def refresh(self) -> None:
        """Take up what other processes have written."""
        if self._is_new and not self._folder.has(MANIFEST_NAME):
            return
        with self._state.lock:
            manifest = Manifest.read(self._directory)
            check_model(self.where, manifest.model, self.model)  # another process may have made it in the meantime
            self._is_new = False
            self._folder.hold()
            if manifest != self.manifest:
                self._snapshot = _take_up(self._folder, manifest, self._snapshot)

    def _catch_up(self) -> None:
        self.refresh()
        remove_leftovers(self._directory, self.manifest)

    def append(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        """Commit N rows and their vectors (N, E): afterwards they outlive anything; before, none of them is there."""
        if self._is_new:
            self._make()
        with nothing_left(self._directory) as written:
            entry = self._write_shard(self.manifest, rows, vectors, written)
            self._commit(self.manifest.with_shard(entry))

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

    def _write_shard(
        self, manifest: Manifest, rows: Sequence[Row], vectors: np.ndarray, written: list[str]
    ) -> ShardEntry:
        path = self._directory / manifest.next_name()
        written.append(path.name)
        shards = self._snapshot.shards
        steps = shards[0].steps if shards and manifest.layout.dtype == "int8" else None
        with _said_when_full(path):
            return write_shard(path, rows, vectors, manifest.origin, steps)

    def _commit(self, manifest: Manifest) -> None:
        """Put a manifest on disk, and take it up."""
        directory = self._directory
        with self._state.lock:
            try:
                with _said_when_full(directory / MANIFEST_NAME):
                    manifest.write(directory)
                self._snapshot = Snapshot(directory, manifest, self._snapshot)
            except BaseException:
                with suppress(GalleryError, OSError):  # it may be on disk nevertheless
                    self.refresh()
                raise

    def replace(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        """Commit N known rows and their vectors (N, E) in the place of what is there, all in one step. What was there
        stays in the files until `compact`."""
        with nothing_left(self._directory) as written:
            entry = self._write_shard(self.manifest, rows, vectors, written)
            left, _ = self._snapshot.without([row.id for row in rows])
            self._commit(left.with_shard(entry))

    def remove(self, ids: Collection[str]) -> int:
        """Take rows out of every search, in one step; their bytes stay in the files until `compact`."""
        left, count = self._snapshot.without(ids)
        if count:
            self._commit(left)
        return count

    def compact(self, rows_per_shard: int, progress: bool = True) -> None:
        """
        Write all rows anew, into few large files without those that were removed, then erase the old files, and the
        index with them, which names rows by their places.

        Vectors kept as int8 are rounded anew to the steps of their new file. Needs the room of the gallery once more
        while it runs. Killed before its last step, it has changed nothing.
        """
        old = self.manifest
        self._commit(old.reserving(1 + -(-self.count() // rows_per_shard)))
        new = replace(old, shards=(), index=None)
        with nothing_left(self._directory) as written, tqdm(total=old.rows, desc="rows", disable=not progress) as bar:
            for rows, vectors in gathered(self.scan(), rows_per_shard):
                new = new.with_shard(self._write_shard(new, rows, vectors, written))
                bar.update(len(rows))
            self._commit(replace(new, next_file=self.manifest.next_file))
        self._catch_up()

    def build_index(self, lists: int | None = None, progress: bool = True) -> None:
        """Make an approximate index of all rows, in the place of an older one; rows added later are searched beside it.

        Raises:
            GalleryError: there are no rows. ImportError: FAISS is not installed.
        """
        now = self._snapshot
        if not now.shards:
            raise GalleryError(f"The gallery {self.where} is empty: add images before making an index.")
        path = self._directory / self.manifest.next_name("index")
        with nothing_left(path.parent) as written:
            written.append(path.name)
            with _said_when_full(path):
                entry = write_index(path, now.shards, lists, progress)
            self._commit(self.manifest.with_index(entry))
        self._catch_up()

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
            newer = Manifest.read(folder.path)
            if newer == manifest:
                raise
            manifest = newer


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
        names = {path.name for path in directory.iterdir() if path.suffix != ".tmp" and not is_half_written(path.name)}
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise GalleryError(f"{directory} is a file: expected the gallery's folder, or a new one.") from None
    others = sorted(names - {_LOCK_NAME})
    if others and MANIFEST_NAME not in names:  # by now another process may have made it
        raise GalleryError(
            f"{directory} holds files ({', '.join(others[:3])}, ...) but no {MANIFEST_NAME}: choose a new or empty "
            f"folder. Where a {MANIFEST_NAME} was lost, `tbps gallery repair {directory}` makes it again."
        )
