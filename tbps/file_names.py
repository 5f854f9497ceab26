"""Names of files as text. On Linux they are bytes, mostly UTF-8, whatever encoding Python was started with: in a locale
such as C without UTF-8 mode it reads them otherwise, and would store other text or none."""

import os


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
