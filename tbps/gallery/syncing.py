"""A folder of images compared with the rows of its files: which are gone, replaced, or elsewhere in it by now."""

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
from tbps.gallery.ingest import update_rows
from tbps.gallery.metadata import changed_row
from tbps.gallery.paths import full_path
from tbps.gallery.store import VectorStore, View
from tbps.gallery.stored_image import content_id
from tbps.gallery.values import select_rows

_AT_ONCE = 4096  # rows of one commit


@dataclass
class SyncResult:
    """
    What has become of the files below a folder since they were added; each dict is of ids and paths.

    `unchanged` is the number of those that are as they were added; of `moved` the same content is at this other path
    below the folder; `gone` are no longer there; `replaced` have another content, such as where a camera uses its file
    names again; `unreadable` are there and cannot be read, or are links that lead nowhere. `dropped` is the number of
    images that were taken out of the gallery for it.
    """

    unchanged: int = 0
    moved: dict[str, str] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    dropped: int = 0


def compare(view: View, folder: str | Path, progress: bool = True) -> SyncResult:
    """
    Read all files of rows below a folder, and where one is not as it was, the other images below it.

    Raises:
        FileNotFoundError: there is no such folder. TypeError, ValueError: no path.
    """
    folder = _place(folder)
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"{name_as_text(folder)} is no folder: expected one with images of the gallery. Is its disk mounted?"
        )
    where = Filter(path=[folder, os.path.realpath(folder)])  # as which of the two it was added, nobody remembers
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
    Take out of a store, open for writing, what is gone or replaced, and give what has moved its path.

    Raises:
        GalleryError: there is no image below the folder at all, as where a disk is not mounted; nothing is changed.
    """
    wrong = [*result.gone, *result.replaced]
    if wrong and next(_images(_place(folder)), None) is None:
        raise GalleryError(
            f"{folder} holds no image: is its disk mounted? Nothing was dropped. To take out all {len(wrong)} images "
            "that were below it, remove them by Filter(path=...) (--path)."
        )
    for ids in batches(list(result.moved), _AT_ONCE):
        update_rows(store, ids, lambda _, row: changed_row(row, result.moved[row.id], {}))
    result.dropped = sum(store.remove(ids) for ids in batches(wrong, _AT_ONCE))


def _place(folder: str | Path) -> str:
    """The full path by which this process finds a folder, of a path or a `file://` address."""
    return name_on_disk(full_path("folder", local_path(folder) if isinstance(folder, str | Path) else folder))


def _id(path: str) -> str | None:
    """Of the content of a file; a stranger's gallery may name one outside of the folder by `..`, which is not read."""
    return content_id(name_on_disk(path)) if os.path.abspath(path) == path else None


def _state(path: str) -> str:
    """Of a file that does not have its content."""
    if _id(path) is not None:
        return "replaced"
    try:
        os.lstat(name_on_disk(path))
    except (FileNotFoundError, NotADirectoryError):
        lost = any(parent.is_symlink() and not parent.exists() for parent in Path(name_on_disk(path)).parents)
        return "unreadable" if lost else "gone"  # a link to a disk that is not mounted says nothing of what is on it
    except OSError:  # as where a folder may not be entered
        return "unreadable"
    except ValueError:  # a name that no file can have
        return "gone"
    return "unreadable"


def _images(folder: str) -> Iterator[str]:
    try:
        yield from (name_as_text(os.path.abspath(path)) for path in list_images(folder))
    except BadImageError:
        return
