"""What may be deleted in a gallery's folder: files that the gallery itself made and that nothing names."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tbps.data.atomic_files import target_of_partial
from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.manifest import COPY_NAME, MANIFEST_NAME, Manifest, is_file_name

LOCK_NAME = "gallery.lock"
ASIDE = ".damaged"  # after the names of files that a repair could not use, and before a number
_FORMER_SUFFIX = ".tmp"  # of half-written files, before they had names of their own


def in_use(directory: Path) -> GalleryError:
    """The error of a folder whose lock another process holds."""
    return GalleryError(
        f"Another process is writing to the gallery {directory}: wait until it has ended, then try again."
    )


def is_half_written(name: str) -> bool:
    """Whether a killed process left it while writing a file of a gallery; a user's files have other names."""
    whole = target_of_partial(name) or name.removesuffix(_FORMER_SUFFIX)
    return whole != name and (whole in (MANIFEST_NAME, COPY_NAME) or is_file_name(whole))


def not_erased(directory: Path) -> str:
    """What to say after a compaction of files that a repair could not use, which nothing deletes; "" without any."""
    names = sorted(path.name for path in directory.iterdir() if is_file_name(path.name.rpartition(ASIDE)[0]))
    if not names:
        return ""
    return (
        f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''} in {directory}: set aside by a repair and not "
        "erased. They may hold what was removed: delete them when you need them no more."
    )


def holds_data(directory: Path) -> bool:
    """Whether there is a shard or an index, named by the manifest or not."""
    return any(is_file_name(path.name) for path in directory.iterdir())


def remove_leftovers(directory: Path, manifest: Manifest) -> None:
    """Delete what was replaced, and what killed writers left: what this gallery wrote and its manifest does not name.

    Only while nobody else writes. Whoever has such a file open keeps it. Folders stay, whatever their name.

    Raises:
        GalleryError: one cannot be deleted.
    """
    for path in directory.iterdir():
        if (is_half_written(path.name) or manifest.is_past(path.name)) and not path.is_dir():
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise GalleryError(
                    f"{path} could not be deleted ({error.strerror}): it is of no use any more, and may hold what was "
                    "removed. Delete it, or repeat the command."
                ) from error


@contextmanager
def nothing_left(directory: Path) -> Iterator[list[str]]:
    """Around the writing of files, whose names are put into the list: where it fails, those that the manifest on disk
    does not name are deleted at once, so that they take no room."""
    names: list[str] = []
    try:
        yield names
    except BaseException:
        with suppress(GalleryError, OSError):
            for name in set(names) - Manifest.read(directory).files():
                (directory / name).unlink(missing_ok=True)
        raise


def check_free(directory: Path) -> None:
    """
    Refuse a place where no new gallery can be.

    Raises:
        GalleryError: it is a file, or a folder that holds something else.
    """
    try:
        found = [path.name for path in directory.iterdir() if path.suffix != _FORMER_SUFFIX]
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise GalleryError(f"{directory} is a file: expected the gallery's folder, or a new one.") from None
    others = sorted(name for name in found if name != LOCK_NAME and not is_half_written(name))
    if others and MANIFEST_NAME not in others:  # by now another process may have made it
        raise GalleryError(
            f"{directory} holds files ({', '.join(others[:3])}, ...) but no {MANIFEST_NAME}: choose a new or empty "
            f"folder. Where a {MANIFEST_NAME} was lost, `tbps gallery repair {directory}` makes it again."
        )
