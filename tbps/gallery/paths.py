"""Paths of images as text, and the folders that they lie in. Another operating system may have made the gallery."""

import os
from typing import Any

from tbps.data.paths import name_as_text
from tbps.gallery.checks import check_text, shown


def full_path(what: str, path: Any) -> str:
    """
    Make a path absolute, in the form in which a gallery stores it: without a separator at the end.

    Args:
        what: the name of the value in error messages.

    Raises:
        TypeError: the value is not a path.
        ValueError: the path is empty or not valid Unicode.
    """
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise TypeError(f"{what}={shown(path)}: expected a path, or several of them.")
    text = name_as_text(path)
    if not text:
        raise ValueError(f"{what}='' is empty: expected the path of a file or of a folder.")
    check_text(what, text)
    return text.rstrip("\\") if _is_windows(text) else name_as_text(os.path.abspath(path))


def separator(path: str) -> str:
    """Return the separator between the names of a path."""
    return "\\" if _is_windows(path) else "/"


def places_of(path: str) -> list[str]:
    """Return a file's path and those of all folders that it lies in."""
    sign = separator(path)
    ends = [place for place, letter in enumerate(path) if letter == sign]
    return [path, *(path[:end] for end in ends if end), *(["/"] if path.startswith("/") else [])]


def _is_windows(path: str) -> bool:
    r"""Whether a path is absolute on Windows: C:\people or \\server\people."""
    return path.startswith("\\\\") or (path[:1].isalpha() and path[1:3] in (":", ":\\"))
