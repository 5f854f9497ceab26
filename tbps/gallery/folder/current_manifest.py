"""The manifest of a gallery, compared with its copy: what is older than that was put back, from a backup say, and would
have the next commits write over files that it does not know of."""

from contextlib import suppress
from pathlib import Path

from tbps.gallery.checks import GalleryError
from tbps.gallery.folder.manifest import COPY_NAME, FORMAT_VERSION, MANIFEST_NAME, Manifest, read_manifest

PUT_BACK = f"it is older than {COPY_NAME}: an earlier one was put back"


def current_manifest(directory: Path) -> Manifest:
    """
    The manifest of an existing gallery. Of changes that write no file, as removals, it cannot be told which is older.

    Raises:
        GalleryError: as `Manifest.read`, or the copy is of a later state.
    """
    copied = _files_counted(directory / COPY_NAME)  # first, as it is written last
    manifest = Manifest.read(directory)
    if copied > manifest.next_file:
        raise GalleryError(
            f"{directory / MANIFEST_NAME} cannot be used ({PUT_BACK}): `tbps gallery repair {directory}` takes the "
            f"later state up again; to keep the earlier one, put its {COPY_NAME} back too."
        )
    return manifest


def _files_counted(copy: Path) -> int:
    """How many files a gallery had written by its copy, 0 if that cannot be read: it is needed for repairs only."""
    with suppress(OSError, ValueError):
        content = read_manifest(copy)
        number = content.get("next_file")
        if content["format_version"] == FORMAT_VERSION and type(number) is int:
            return number
    return 0
