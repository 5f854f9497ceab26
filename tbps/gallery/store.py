"""The rows of a gallery on disk: a folder of shards under a manifest."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock, Timeout

from tbps.files import TEMPORARY_SUFFIX
from tbps.fingerprint import ModelIdentity
from tbps.gallery.errors import GalleryError
from tbps.gallery.manifest import MANIFEST_NAME, Manifest
from tbps.gallery.shards import Row, Shard, write_shard

_LOCK_NAME = "gallery.lock"


class Store:
    """Appends rows and gives them back in order of insertion; it holds no vector in memory.

    A reader sees the rows that were there when it opened the store. One process at a time may append.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self._directory = directory
        self._manifest: Manifest
        self._shards: list[Shard]
        self._starts: np.ndarray  # row number of each shard's first row, and of the next one to come
        self._set_manifest(manifest)

    @classmethod
    def open(cls, directory: Path, model: ModelIdentity) -> "Store":
        """
        The store in `directory`, made if it is new; every shard is read once to verify it.

        Raises:
            GalleryError: it is damaged, belongs to another model, or the folder holds something else.
        """
        if directory.exists() and not directory.is_dir():
            raise GalleryError(f"{directory} is a file: expected the gallery's folder, or a new one.")
        if (directory / MANIFEST_NAME).exists():
            manifest = Manifest.read(directory)
            _check_model(directory, manifest.model, model)
        else:
            manifest = _create(directory, model)
        return cls(directory, manifest)

    @property
    def directory(self) -> Path:
        """Where it lies."""
        return self._directory

    def count(self) -> int:
        """The number of rows."""
        return int(self._starts[-1])

    def embeddings(self) -> Iterator[np.ndarray]:
        """All vectors in order of insertion, a shard (n, E) at a time."""
        return (shard.embeddings for shard in self._shards)

    def row(self, position: int) -> Row:
        """The row at 0 <= position < count(), counted in order of insertion."""
        shard = int(np.searchsorted(self._starts, position, side="right")) - 1
        return self._shards[shard].row(position - int(self._starts[shard]))

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are in the store; the shards' ids are scanned, not held in memory."""
        wanted = pa.array(ids, pa.string())
        found = (shard.ids.filter(pc.is_in(shard.ids, value_set=wanted)).to_pylist() for shard in self._shards)
        return {known for part in found for known in part}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """
        Around `append`: keeps other writers out, takes up what they added before, removes what killed ones left.

        Raises:
            GalleryError: another process is appending.
        """
        lock = FileLock(self._directory / _LOCK_NAME)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise GalleryError(
                f"Another process is adding to the gallery {self._directory}: wait until it has ended, then try again."
            ) from None
        try:
            self._catch_up()
            yield
        finally:
            lock.release()

    def _catch_up(self) -> None:
        manifest = Manifest.read(self._directory)
        if manifest != self._manifest:
            self._set_manifest(manifest)
        for leftover in self._directory.glob(f"*{TEMPORARY_SUFFIX}"):
            leftover.unlink()

    def append(self, rows: Sequence[Row], embeddings: np.ndarray) -> None:
        """Commit N rows and their vectors (N, E): afterwards they outlive anything; before, none of them is there."""
        entry = write_shard(self._directory / self._manifest.next_shard_name(), rows, embeddings)
        shard = Shard(self._directory, entry, self._manifest.model.embedding_dim)
        manifest = self._manifest.with_shard(entry)
        manifest.write(self._directory)
        self._manifest = manifest
        self._shards.append(shard)
        self._starts = np.append(self._starts, self._starts[-1] + entry.rows)

    def _set_manifest(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._shards = [Shard(self._directory, entry, manifest.model.embedding_dim) for entry in manifest.shards]
        self._starts = np.cumsum([0, *(entry.rows for entry in manifest.shards)])


def _create(directory: Path, model: ModelIdentity) -> Manifest:
    """An empty gallery. The manifest comes before any shard, so shards without one mean that it was lost."""
    from tbps import __version__  # not at the top: tbps itself imports the gallery

    directory.mkdir(parents=True, exist_ok=True)
    others = [path.name for path in directory.iterdir() if path.suffix != TEMPORARY_SUFFIX and path.name != _LOCK_NAME]
    if others:
        raise GalleryError(
            f"{directory} holds files ({', '.join(sorted(others)[:3])}, ...) but no {MANIFEST_NAME}: choose a new or "
            f"empty folder, or restore the {MANIFEST_NAME} that was lost."
        )
    manifest = Manifest(model, __version__)
    manifest.write(directory)
    return manifest


def _check_model(directory: Path, made_by: ModelIdentity, opened_with: ModelIdentity) -> None:
    if made_by.fingerprint != opened_with.fingerprint or made_by.embedding_dim != opened_with.embedding_dim:
        raise GalleryError(
            f"The gallery {directory} was made with {made_by} and is opened with {opened_with}: weights, part_weight "
            "or the image processor differ, so the scores would mean nothing. Open it with the model that made it, or "
            "add the images to a new gallery in another folder."
        )
