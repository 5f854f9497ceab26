"""The current state of an open gallery: the manifest on disk, and the snapshot of it that is read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.copying import RowSource, copy_ranges
from tbps.gallery.folder.leftovers import remove_leftovers
from tbps.gallery.folder.location import Folder
from tbps.gallery.folder.locks import ForkLock
from tbps.gallery.folder.manifest import COPY_NAME, MANIFEST_NAME, Manifest, current_manifest
from tbps.gallery.folder.manifest_entries import ShardEntry
from tbps.gallery.folder.merging import RowRange
from tbps.gallery.folder.shards import write_batch
from tbps.gallery.folder.snapshot import Snapshot
from tbps.gallery.model_identity import check_model


class State:
    """
    The state of a gallery in a folder. Writers change it by commits, and everybody else by `refresh`.

    Args:
        directory: the gallery's folder.
        manifest: the manifest as it was read, or that of a new gallery.
        is_new: nothing is on disk yet.

    Raises:
        GalleryError: a file is missing or damaged.
    """

    def __init__(self, directory: Path, manifest: Manifest, is_new: bool) -> None:
        self.folder = Folder(directory)
        self.is_new = is_new
        self.guard = ForkLock()  # held while the manifest on disk and the snapshot may differ
        self.snapshot = _open_snapshot(self.folder, manifest)
        if not is_new:
            self.folder.hold()

    @property
    def directory(self) -> Path:
        """The folder's present path."""
        return self.folder.path

    @property
    def manifest(self) -> Manifest:
        """The manifest of the snapshot."""
        return self.snapshot.manifest

    def refresh(self) -> None:
        """Read what other processes have committed."""
        if self.is_new and not self.folder.has(MANIFEST_NAME):
            return
        with self.guard.lock:
            manifest = current_manifest(self.directory)
            # another process may have created the gallery in the meantime
            check_model(str(self.folder), manifest.model, self.manifest.model)
            self.is_new = False
            self.folder.hold()
            if manifest != self.manifest:
                self.snapshot = _open_snapshot(self.folder, manifest, self.snapshot)

    def catch_up(self) -> None:
        """Refresh, and delete what nobody uses. The caller must hold the write lock."""
        self.refresh()
        remove_leftovers(self.directory, self.manifest)

    def commit(self, manifest: Manifest) -> None:
        """Write a manifest to disk and take a snapshot of it."""
        directory = self.directory
        with self.guard.lock:
            try:
                with named_write_errors(directory / MANIFEST_NAME):
                    manifest.write(directory)
                self.snapshot = Snapshot(directory, manifest, self.snapshot)
            except BaseException:
                with suppress(GalleryError, OSError):  # it may be on disk all the same
                    self.refresh()
                raise

    def create(self) -> None:
        """Write the manifest of a new gallery. It comes before any shard, so a shard without a manifest means that the
        manifest was lost."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.commit(self.manifest)
        self.is_new = False
        self.folder.hold()

    def discard(self, directory: Path) -> None:
        """Undo `create`."""
        self.is_new = True
        self.folder.release()
        for name in (MANIFEST_NAME, COPY_NAME):
            (directory / name).unlink(missing_ok=True)

    def write_shard(
        self, name: str, sources: Sequence[RowSource], part: Sequence[RowRange], written: list[str]
    ) -> ShardEntry:
        """Write ranges of rows to a new file, and append its name to `written`."""
        path = self.directory / name
        written.append(name)
        with named_write_errors(path):
            return write_batch(path, copy_ranges(sources, part, self.manifest.origin))

    def erase_replaced(self, before: set[str]) -> None:
        """Delete the files of an earlier manifest that the present one does not name."""
        if before - self.manifest.files():
            remove_leftovers(self.directory, self.manifest)


@contextmanager
def named_write_errors(path: Path) -> Iterator[None]:
    """Turn an error of writing a gallery's file into a GalleryError that names the file."""
    try:
        yield
    except OSError as error:
        raise GalleryError(
            f"{path} could not be written ({error.strerror}). The gallery is as it was before: free some disk space, "
            "then repeat the command."
        ) from error


def _open_snapshot(folder: Folder, manifest: Manifest, before: Snapshot | None = None) -> Snapshot:
    """Open the files of a manifest; or of a newer manifest, if they are replaced in the meantime."""
    while True:
        try:
            return Snapshot(folder.path, manifest, before)
        except GalleryError:
            newer = current_manifest(folder.path)
            if newer == manifest:
                raise
            manifest = newer
