"""Paths of images as text: which folders one lies in. A gallery may have been made on a machine of another kind."""

import os
from typing import Any

from tbps.data.paths import name_as_text
from tbps.gallery.checks import check_text, shown


def full_path(what: str, path: Any) -> str:
    """
    A path as a gallery keeps it, without a separator at its end.

    Raises:
        TypeError: no path. ValueError: it is empty or no Unicode text.
    """
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise TypeError(f"{what}={shown(path)}: expected a path, or several of them.")
    text = name_as_text(path)
    if not text:
        raise ValueError(f"{what}='' is empty: expected the path of a file or of a folder.")
    check_text(what, text)
    return text.rstrip("\\") if _is_windows(text) else name_as_text(os.path.abspath(path))


def separator(path: str) -> str:
    """What a folder's path ends with before the names in it."""
    return "\\" if _is_windows(path) else "/"


def places_of(path: str) -> list[str]:
    """A file's path, and those of all folders that it lies in."""
    sign = separator(path)
    ends = [place for place, letter in enumerate(path) if letter == sign]
    return [path, *(path[:end] for end in ends if end), *(["/"] if path.startswith("/") else [])]


def _is_windows(path: str) -> bool:
    r"""Whether it is absolute on Windows: C:\people or \\server\people."""
    return path.startswith("\\\\") or (path[:1].isalpha() and path[1:3] in (":", ":\\"))
