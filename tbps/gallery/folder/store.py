"""The store of a gallery in a folder: files of rows, listed in a manifest."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from tbps.evaluation.fingerprint import ModelIdentity
from tbps.files_tbps import VERSION
from tbps.gallery.checks import GalleryError
from tbps.gallery.filters import Filter
from tbps.gallery.folder.build_index import write_index
from tbps.gallery.folder.copying import with_rows
from tbps.gallery.folder.leftovers import check_free, deleted_on_error, holds_data, not_erased
from tbps.gallery.folder.location import Folder
from tbps.gallery.folder.locks import LOCK_NAME, ForkLock, write_lock
from tbps.gallery.folder.manifest import COPY_NAME, MANIFEST_NAME, Manifest, current_manifest
from tbps.gallery.folder.merging import is_full, needs_merging
from tbps.gallery.folder.rewriting import append_batch, rewrite
from tbps.gallery.folder.shards import make_batch
from tbps.gallery.folder.snapshot import Snapshot
from tbps.gallery.folder.state import State, named_write_errors
from tbps.gallery.model_identity import check_model
from tbps.gallery.store import ROWS_PER_FILE, TARGET_RECALL, FileInfo, Layout, Row, SearchRequest, StoredHit


class FolderStore:
    """
    A `VectorStore` in a folder. It holds no vectors in memory.

    A reader sees the rows that were there when it opened the store, until it calls `refresh`. One process at a time may
    write; threads that share a store take turns. A new store is created with its first rows: a failure before that
    leaves nothing behind.
    """

    def __init__(self, directory: Path, manifest: Manifest, is_new: bool = False) -> None:
        self._writers = ForkLock()  # held during changes
        self._state = State(directory, manifest, is_new)

    @classmethod
    def open(cls, directory: Path, model: ModelIdentity, layout: Layout) -> "FolderStore":
        """
        Open the store in `directory`, or prepare a new one.

        The lengths of files are checked now, their contents when they are first read.

        Raises:
            GalleryError: the store is damaged or belongs to another model, or the folder holds other files.
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
        Open an existing store without a model.

        Raises:
            GalleryError: the store does not exist or is damaged.
        """
        if not directory.exists():
            raise GalleryError(
                f"{directory} is not a gallery: it does not exist. `tbps index` creates a gallery, and so does "
                "Gallery.open with a model and its processor."
            )
        if not directory.is_dir():
            raise GalleryError(f"{directory} is a file. Give the gallery's folder.")
        if not Folder(directory).has(MANIFEST_NAME):
            raise GalleryError(
                f"{directory} is not a gallery: it holds no {MANIFEST_NAME}. `tbps index` creates a gallery. If the "
                f"file was lost, `tbps gallery repair {directory}` rebuilds it."
            )
        return cls(directory, current_manifest(directory))

    @property
    def where(self) -> str:
        """The folder."""
        return str(self._state.folder)

    @property
    def manifest(self) -> Manifest:
        """The list of the store's files."""
        return self._state.manifest

    @property
    def model(self) -> ModelIdentity:
        """The identity of the model that made the vectors."""
        return self.manifest.model

    @property
    def layout(self) -> Layout:
        """The layout of the vectors."""
        return self.manifest.layout

    def snapshot(self) -> Snapshot:
        """Return the present state, which never changes."""
        return self._state.snapshot

    def count(self, filter: Filter | None = None) -> int:
        """Count the rows, or those that meet a filter."""
        return self.snapshot().count(filter)

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return the ids that the store holds."""
        return self.snapshot().known(ids)

    def get(self, ids: Sequence[str]) -> list[StoredHit | None]:
        """Return the row and the vector of each id, with a score of 0; None if the store does not hold it."""
        return self.snapshot().get(ids)

    def scan(self) -> Iterator[tuple[list[Row], np.ndarray]]:
        """Iterate over all rows and vectors (n, E) float32, in batches and in order of insertion."""
        return self.snapshot().scan()

    def iter_rows(self, columns: Sequence[str], filter: Filter | None = None) -> Iterator[list[dict[str, Any]]]:
        """Iterate over some fields of the rows that meet a filter, in batches and in order of insertion."""
        return self.snapshot().iter_rows(columns, filter)

    def search(self, queries: np.ndarray, request: SearchRequest) -> list[list[StoredHit]]:
        """Return the best rows for each query (Q, E) float32."""
        return self.snapshot().search(queries, request)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """
        Enclose changes: keep other writers out, read their commits, and delete what killed writers left.

        Raises:
            GalleryError: another process is writing, or the folder cannot be written to.
        """
        state = self._state
        with self._writers.lock, ExitStack() as stack:
            directory = state.directory
            state.folder.check_no_links(MANIFEST_NAME, COPY_NAME, LOCK_NAME)
            try:
                stack.enter_context(write_lock(directory))
                state.catch_up()
            except OSError as error:
                raise GalleryError(f"The gallery {directory} cannot be written to: {error}.") from error
            was_new = state.is_new
            try:
                yield
            finally:
                if was_new and not holds_data(directory):  # with a file of rows there must be a manifest
                    state.discard(directory)

    def refresh(self) -> None:
        """Read what other processes have committed."""
        self._state.refresh()

    @property
    def steps(self) -> np.ndarray | None:
        """The quantisation steps (E,) of an int8 store; None for other dtypes, or if the store is empty."""
        shards = self.snapshot().shards
        return shards[0].steps if shards and self.layout.dtype == "int8" else None

    def append(self, rows: Sequence[Row], vectors: np.ndarray, steps: np.ndarray | None = None) -> None:
        """Commit N new rows and their vectors (N, E) float32. The commit is atomic and durable once it returns."""
        if self._state.is_new:
            self._state.create()
        if self.layout.dtype != "int8" or self.steps is not None:
            steps = self.steps
        append_batch(self._state, self.manifest, make_batch(rows, vectors, self.manifest.origin, steps))

    def replace(self, rows: Sequence[Row]) -> None:
        """Replace N rows by others of the same ids in one commit; their vectors stay. The old rows stay in their files
        until these are merged or compacted."""
        ids = [row.id for row in rows]
        remaining, _ = self.snapshot().without(ids)
        append_batch(self._state, remaining, with_rows(self.snapshot().batch(ids), rows))

    def remove(self, ids: Collection[str]) -> int:
        """Remove rows in one commit and return how many of them there were. Their bytes stay in the files until
        `compact`."""
        state, before = self._state, self.manifest
        remaining, count = state.snapshot.without(ids)
        if count:
            partial = replace(before, shards=tuple(entry for entry in before.shards if entry.file in remaining.files()))
            try:
                state.commit(remaining)
            except GalleryError:  # on a full disk, first drop complete files: that frees space to mark the other rows
                if partial == self.manifest or self.manifest != before:
                    raise
                state.commit(partial)
                state.erase_replaced(before.files())
                state.commit(state.snapshot.without(ids)[0])
            state.erase_replaced(before.files())
        return count

    def compact(self, rows_per_file: int, progress: bool = True) -> None:
        """
        Rewrite the rows into files of one size, without those that were removed. This drops the index, which refers to
        rows by their positions.

        The first files stay as long as each has that size and no removed rows. The others are rewritten one by one, so
        an interrupted call loses nothing, and the next one continues it.

        Raises:
            GalleryError: the disk has too little space; nothing was changed.
        """
        done = [not entry.removed and entry.rows == rows_per_file for entry in self.manifest.shards]
        rewrite(self._state, done.index(False) if False in done else len(done), rows_per_file, progress)

    def build_index(
        self, nlist: int | None = None, target_recall: float = TARGET_RECALL, progress: bool = True
    ) -> None:
        """
        Build the approximate index of all rows, and replace an older one. Rows added later are searched beside it.

        Raises:
            GalleryError: the store is empty.
            ValueError: more lists than rows, or a recall out of range.
            ImportError: FAISS is not installed.
        """
        if not self.count():
            raise GalleryError(f"The gallery {self.where} is empty: add images before building an index.")
        state = self._state
        sizes = [entry.rows for entry in self.manifest.shards]
        if needs_merging(sizes):  # commits do not merge files that an index covers
            first = next(number for number, size in enumerate(sizes) if not is_full(size))
            rewrite(state, first, ROWS_PER_FILE, progress)
        path = state.directory / self.manifest.next_name("index")
        with deleted_on_error(path.parent) as written:
            written.append(path.name)
            with named_write_errors(path):
                entry = write_index(path, state.snapshot.shards, nlist, target_recall, progress)
            state.commit(self.manifest.with_index(entry))
        state.catch_up()

    def info(self) -> FileInfo:
        """Return how many files there are, and their size."""
        return self.snapshot().info()

    def set_aside(self) -> str:
        """Name the damaged files that a repair kept and `compact` does not erase; "" if there are none."""
        return not_erased(self._state.directory)

    def check(self, progress: bool = True) -> None:
        """
        Read every file.

        Raises:
            GalleryError: a file is damaged; the message names it.
        """
        snapshot = self.snapshot()
        files = len(snapshot.manifest.files())
        for _ in tqdm(snapshot.verify(), desc="files", total=files, disable=not progress):
            pass
