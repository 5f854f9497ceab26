"""Where things are: paths of this machine and `file://` addresses. What names another scheme never becomes a folder.

Names of files as text. On Linux they are bytes, mostly UTF-8, whatever encoding Python was started with: in a locale
such as C without UTF-8 mode it reads them otherwise, and would store other text or none.
"""

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

_PATHS = "a path of this machine, or file:///PATH"
# of one letter is a drive of Windows; a Path has one slash left of two
_SCHEME = re.compile(r"\s*(?:([a-z][a-z0-9+.-]+):/|(file|https?|tcp):|(.*?)://)", re.IGNORECASE | re.DOTALL)


def scheme_of(where: str | Path, expected: str = _PATHS) -> str | None:
    """The scheme of an address in lower case; None of a plain path. `expected`: what a message says may stand there.

    Raises:
        ValueError: it is blank. TypeError: it is neither a text nor a path.
    """
    if not isinstance(where, str | Path):
        raise TypeError(f"{where!r} is a {type(where).__name__}: expected a path or an address as text.")
    text = str(where)
    if not text.strip():
        raise ValueError(f"{text!r} names no place: expected {expected}.")
    found = _SCHEME.match(text)
    return None if found is None else next(name for name in found.groups() if name is not None).lower()


def local_path(where: str | Path, expected: str = _PATHS) -> Path:
    """
    The path that a path or a `file://` address names; `~` at its start is the user's folder.

    Args:
        expected: what messages say may stand there.

    Raises:
        ValueError: it is blank, of another scheme, or a `file` address of another machine. An address of another scheme
            is not repeated: it may hold a password.
    """
    scheme = scheme_of(where, expected)
    if scheme is None:
        return Path(where).expanduser()
    if scheme != "file":
        raise ValueError(f"There is nothing here that reads {scheme}:// addresses: expected {expected}.")
    parts = urlsplit(str(where).strip())
    if parts.netloc.lower() not in ("", "localhost") or not parts.path.startswith("/"):
        raise ValueError(f"{str(where)!r}: expected file:///PATH, a whole path of this machine after three slashes.")
    if parts.query or parts.fragment or "\0" in (path := os.fsdecode(unquote_to_bytes(parts.path))):
        raise ValueError(f"{str(where)!r}: expected a path alone; write ? as %3F and # as %23.")
    return Path(path[1:] if re.match("/[A-Za-z]:", path) and os.name == "nt" else path)


def checkpoint_name(given: str) -> str:
    """
    A checkpoint as Transformers takes it: a folder, or NAME/MODEL on the Hub.

    Raises:
        ValueError: it is blank or an address of another scheme than `file`.
    """
    if scheme_of(given) is None:
        return given
    return str(local_path(given, "a folder, file:///FOLDER, or NAME/MODEL on the Hub without any address before it"))


def name_as_text(name: str | os.PathLike[str]) -> str:
    """A file's name, or an argument of the command line, as the UTF-8 text that its bytes are; bytes that are none stay
    half surrogates, which no text holds. What cannot be a name as this process spells it is text already."""
    try:
        return os.fsencode(name).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return os.fspath(name)


def name_on_disk(text: str) -> str:
    """The name by which this process finds the file of that text: `name_as_text` the other way round.

    Raises:
        ValueError: the text holds a half surrogate, which no name of a file can.
    """
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))
