"""Terminal output that untrusted text cannot control: file names, metadata and messages may come from anybody."""

import logging
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any, TextIO, cast

from tbps.files_tbps import printable, printable_lines

_BAR = re.compile(r"\r|(\x1b\[A)+$")  # the start of a progress bar, or the move to a bar further up


def show(line: str, file: TextIO | None = None) -> None:
    """Print one line. Line breaks and control characters in it are escaped."""
    print(printable(line), file=file)


def show_error(text: str) -> None:
    """Print a message to standard error after `tbps: `. Its further lines are indented, so that text within the
    message cannot pass for another message."""
    first, *others = text.split("\n")
    lines = [f"tbps: {first}", *(line if line.startswith(" ") else f"  {line}" for line in others)]
    for line in lines:
        show(line, sys.stderr)


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Print the warnings of this block on standard error when it ends, each as a message."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for one in caught:
        show_error(str(one.message))


@contextmanager
def safe_streams() -> Iterator[None]:
    """
    Escape control characters, except line ends, in everything that is printed within this block: also in warnings,
    logs and progress bars of libraries.

    Characters that the terminal's encoding lacks are escaped too, instead of raising an error.
    """
    before = sys.stdout, sys.stderr
    logger, handler = logging.getLogger("tbps"), _LogHandler(logging.WARNING)
    try:
        logger.addHandler(handler)
        sys.stdout, sys.stderr = _safe(sys.stdout), _safe(sys.stderr, has_bars=True)
        yield
    finally:
        sys.stdout, sys.stderr = before
        logger.removeHandler(handler)


class _LogHandler(logging.Handler):
    """Prints log messages of the package as messages of the command."""

    def emit(self, record: logging.LogRecord) -> None:
        show_error(record.getMessage())


def _safe(stream: TextIO, has_bars: bool = False) -> TextIO:
    strict = ("strict", "surrogateescape")  # the second in the C locale
    if isinstance(stream, TextIOWrapper) and stream.errors in strict:
        stream.reconfigure(errors="backslashreplace")
    return cast(TextIO, _SafeStream(stream, has_bars))


class _SafeStream:
    """
    A stream that escapes what is written to it and passes everything else on to the original stream.

    If it may show progress bars, text that begins with a carriage return is one. Bars appear on a terminal only.
    """

    def __init__(self, stream: TextIO, has_bars: bool) -> None:
        self._stream = stream
        self._has_bars = has_bars

    def write(self, text: str) -> int:
        bar = _BAR.match(text) if self._has_bars else None
        if bar is None:
            self._stream.write(printable_lines(text))
        elif self._stream.isatty():
            self._stream.write(bar[0] + printable_lines(text[bar.end() :]))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
