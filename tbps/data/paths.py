"""Paths and `file://` addresses that users give, and file names as text.

An address with another scheme never becomes a folder. File names on Linux are bytes, mostly UTF-8. In a locale such as
C, without UTF-8 mode, Python decodes them differently; `name_as_text` and `name_on_disk` always use UTF-8.
"""

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

_PATHS = "a path on this machine, or file:///PATH"
# a single letter is a Windows drive; a Path keeps only one of two slashes
_SCHEME = re.compile(r"\s*(?:([a-z][a-z0-9+.-]+):/|(file|https?|tcp):|(.*?)://)", re.IGNORECASE | re.DOTALL)


def scheme_of(where: str | Path, expected: str = _PATHS) -> str | None:
    """Return the scheme of an address in lower case, or None for a plain path.

    Args:
        expected: The valid values, for error messages.

    Raises:
        ValueError: The text is blank.
        TypeError: `where` is neither text nor a path.
    """
    if not isinstance(where, str | Path):
        raise TypeError(f"{where!r} is a {type(where).__name__}: expected a path or an address as text.")
    text = str(where)
    if not text.strip():
        raise ValueError(f"{text!r} is blank: expected {expected}.")
    found = _SCHEME.match(text)
    return None if found is None else next(name for name in found.groups() if name is not None).lower()


def local_path(where: str | Path, expected: str = _PATHS) -> Path:
    """Convert a path or a `file://` address to a path. A leading `~` is the home folder.

    Args:
        expected: The valid values, for error messages.

    Raises:
        ValueError: The text is blank, has another scheme, or is a `file` address of another machine. Messages do not
            repeat addresses with another scheme, as they may contain a password.
    """
    scheme = scheme_of(where, expected)
    if scheme is None:
        return Path(where).expanduser()
    if scheme != "file":
        raise ValueError(f"{scheme}:// addresses are not supported here: expected {expected}.")
    parts = urlsplit(str(where).strip())
    if parts.netloc.lower() not in ("", "localhost") or not parts.path.startswith("/"):
        raise ValueError(
            f"{str(where)!r}: expected file:///PATH, an absolute path on this machine after three slashes."
        )
    if parts.query or parts.fragment or "\0" in (path := os.fsdecode(unquote_to_bytes(parts.path))):
        raise ValueError(f"{str(where)!r}: expected file:///PATH and nothing else. Write ? as %3F and # as %23.")
    return Path(path[1:] if re.match("/[A-Za-z]:", path) and os.name == "nt" else path)


def checkpoint_name(given: str) -> str:
    """Convert the name of a checkpoint to what Transformers accepts: a folder, or NAME/MODEL on the Hub.

    Raises:
        ValueError: The name is blank, or an address with a scheme other than `file`.
    """
    if scheme_of(given) is None:
        return given
    return str(local_path(given, "a folder, file:///FOLDER, or NAME/MODEL on the Hub without an address before it"))


def name_as_text(name: str | os.PathLike[str]) -> str:
    """Decode a file name or a command-line argument as UTF-8, whatever the locale.

    Invalid bytes become lone surrogates. A name that this process cannot encode is text already.
    """
    try:
        return os.fsencode(name).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return os.fspath(name)


def name_on_disk(text: str) -> str:
    """Return the name under which this process finds the file, the inverse of `name_as_text`.

    Raises:
        ValueError: The text contains a surrogate that no file name can have.
    """
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))
