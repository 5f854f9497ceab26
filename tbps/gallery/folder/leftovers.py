"""Files in a gallery's folder that may be deleted: those that the gallery wrote itself and no longer uses."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tbps.data.atomic_files import target_of_partial
from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.locks import LOCK_NAME
from tbps.gallery.folder.manifest import COPY_NAME, MANIFEST_NAME, Manifest
from tbps.gallery.folder.manifest_entries import parsed_number

ASIDE = ".damaged"  # a repair adds it, and a number if needed, to the names of files that it cannot use
_FORMER_SUFFIX = ".tmp"  # of partial files, as earlier versions named them


def is_partial(name: str) -> bool:
    """Whether a process that was killed while it wrote a gallery's file left this file. No file of a user has such a
    name."""
    target = target_of_partial(name) or name.removesuffix(_FORMER_SUFFIX)
    return target != name and (target in (MANIFEST_NAME, COPY_NAME) or parsed_number(target) is not None)


def not_erased(directory: Path) -> str:
    """Return the warning about files that a repair set aside, which nothing deletes; "" if there are none."""
    names = sorted(
        path.name for path in directory.iterdir() if parsed_number(path.name.rpartition(ASIDE)[0]) is not None
    )
    if not names:
        return ""
    return (
        f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''} in {directory}: set aside by a repair, not erased. "
        "They may hold removed images: delete them when you no longer need them."
    )


def holds_data(directory: Path) -> bool:
    """Whether the folder has a shard or an index, in the manifest or not."""
    return any(parsed_number(path.name) is not None for path in directory.iterdir())


def remove_leftovers(directory: Path, manifest: Manifest) -> None:
    """
    Delete the gallery's files that were replaced and those that killed writers left.

    The caller must hold the write lock. A process that has such a file open can still read it. Folders are kept.

    Raises:
        GalleryError: a file cannot be deleted.
    """
    for path in directory.iterdir():
        if (is_partial(path.name) or manifest.is_obsolete(path.name)) and not path.is_dir():
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise GalleryError(
                    f"{path} could not be deleted ({error.strerror}). The gallery no longer uses it, but it may hold "
                    "removed images. Delete it, or repeat the command."
                ) from error


@contextmanager
def deleted_on_error(directory: Path) -> Iterator[list[str]]:
    """
    Delete new files if the block fails, so that they take no space.

    Yields:
        A list for the names of the files that the block writes. Files that the manifest on disk names are kept.
    """
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
    Refuse a path where no new gallery can be created.

    Raises:
        GalleryError: it is a file, or a folder with other files.
    """
    try:
        found = [path.name for path in directory.iterdir() if path.suffix != _FORMER_SUFFIX]
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise GalleryError(f"{directory} is a file. Give the gallery's folder, or a new one.") from None
    others = sorted(name for name in found if name != LOCK_NAME and not is_partial(name))
    if others and MANIFEST_NAME not in others:  # another process may have created it in the meantime
        raise GalleryError(
            f"{directory} holds files ({', '.join(others[:3])}, ...) but no {MANIFEST_NAME}: choose a new or empty "
            f"folder. If the {MANIFEST_NAME} was lost, `tbps gallery repair {directory}` rebuilds it."
        )
