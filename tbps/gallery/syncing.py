"""Compare a folder of images with a gallery: which files are gone, replaced, or moved within the folder."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tqdm.auto import tqdm

from tbps.data.images import BadImageError, list_images
from tbps.data.paths import local_path, name_as_text, name_on_disk
from tbps.evaluation.encoding import batches
from tbps.gallery.checks import GalleryError
from tbps.gallery.filters import Filter
from tbps.gallery.metadata import changed_row, update_rows
from tbps.gallery.paths import full_path
from tbps.gallery.store import VectorStore, View
from tbps.gallery.stored_image import content_id
from tbps.gallery.values import select_rows

_BATCH_SIZE = 4096  # rows in one commit


@dataclass
class SyncResult:
    """
    What became of the files below a folder since they were added. Each dict maps ids to paths.

    Args:
        unchanged: the number of files that are as they were added.
        moved: the same content is at this other path below the folder.
        gone: the file no longer exists.
        replaced: the file has other content, as when a camera reuses its file names.
        unreadable: the file exists and cannot be read, or is a link that leads nowhere.
        dropped: the number of images that were removed from the gallery.
    """

    unchanged: int = 0
    moved: dict[str, str] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    dropped: int = 0


def compare(view: View, folder: str | Path, progress: bool = True) -> SyncResult:
    """
    Read the files of all rows below a folder. If one differs, also read the other images below the folder.

    Raises:
        FileNotFoundError: the folder does not exist.
        TypeError, ValueError: not a path.
    """
    folder = _place(folder)
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"{name_as_text(folder)} is not a folder: expected one with images of the gallery. Is its disk mounted?"
        )
    where = Filter(path=[folder, os.path.realpath(folder)])  # images may have been added under either path
    result, right = SyncResult(), set()
    with tqdm(total=view.count(where), desc="files", disable=not progress) as bar:
        for row in select_rows(view, where, ["id", "path"]):
            states = {"gone": result.gone, "replaced": result.replaced, "unreadable": result.unreadable}
            if _id(row["path"]) == row["id"]:
                right.add(row["path"])
            else:
                states[_state(row["path"])][row["id"]] = row["path"]
            bar.update()
    result.unchanged = len(right)
    lost = {**result.gone, **result.replaced}
    for path in _images(folder) if lost else ():
        id = None if path in right else _id(path)
        if id in lost:
            result.moved.setdefault(id, path)
    for id in result.moved:
        (result.gone if id in result.gone else result.replaced).pop(id)
    return result


def apply(store: VectorStore, folder: str | Path, result: SyncResult) -> None:
    """
    Remove the rows of files that are gone or replaced, and update the paths of those that moved. The store must be open
    for writing.

    Raises:
        GalleryError: the folder holds no image at all, as when its disk is not mounted; nothing has been changed.
    """
    wrong = [*result.gone, *result.replaced]
    if wrong and next(_images(_place(folder)), None) is None:
        raise GalleryError(
            f"{folder} holds no image: is its disk mounted? Nothing was dropped. To remove all {len(wrong)} images "
            "that were below it, remove them by Filter(path=...) (--path)."
        )
    for ids in batches(list(result.moved), _BATCH_SIZE):
        update_rows(store, ids, lambda _, row: changed_row(row, result.moved[row.id], {}))
    result.dropped = sum(store.remove(ids) for ids in batches(wrong, _BATCH_SIZE))


def _place(folder: str | Path) -> str:
    """Return the full path of a folder, or of its `file://` address, as the file system has it."""
    return name_on_disk(full_path("folder", local_path(folder) if isinstance(folder, str | Path) else folder))


def _id(path: str) -> str | None:
    """Hash the content of a file. Somebody else's gallery may name one outside of the folder by `..`; it is not
    read."""
    return content_id(name_on_disk(path)) if os.path.abspath(path) == path else None


def _state(path: str) -> str:
    """Classify a file that does not have the content of its row."""
    if _id(path) is not None:
        return "replaced"
    try:
        os.lstat(name_on_disk(path))
    except (FileNotFoundError, NotADirectoryError):
        lost = any(parent.is_symlink() and not parent.exists() for parent in Path(name_on_disk(path)).parents)
        return "unreadable" if lost else "gone"  # a link to a disk that is not mounted does not show what is on it
    except OSError:  # such as a folder without permission to enter
        return "unreadable"
    except ValueError:  # no file can have this name
        return "gone"
    return "unreadable"


def _images(folder: str) -> Iterator[str]:
    try:
        yield from (name_as_text(os.path.abspath(path)) for path in list_images(folder))
    except BadImageError:
        return
