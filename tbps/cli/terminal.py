"""What a command prints. Names, metadata and messages come from strangers' files and never steer the terminal."""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any, TextIO, cast

from tbps.files_tbps import printable, printable_lines

_BAR = re.compile(r"\r|(\x1b\[A)+$")  # the start of a progress bar, or the way to one further up


def show(line: str, file: TextIO | None = None) -> None:
    """Print one line: of the text in it neither a line break nor anything else steers the terminal."""
    print(printable(line), file=file)


def show_error(text: str) -> None:
    """Print a message on standard error behind `tbps: `; further lines of it are indented, so that no text within it
    passes for a message of its own."""
    first, *others = text.split("\n")
    lines = [f"tbps: {first}", *(line if line.startswith(" ") else f"  {line}" for line in others)]
    for line in lines:
        show(line, sys.stderr)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Whatever prints in this block, warnings, logs and progress bars of libraries too, prints no control characters
    but the ends of lines. What the terminal's encoding has no letters for is spelt out, not an error."""
    before = sys.stdout, sys.stderr
    logger, handler = logging.getLogger("tbps"), _Messages(logging.WARNING)
    try:
        logger.addHandler(handler)
        sys.stdout, sys.stderr = _safe(sys.stdout), _safe(sys.stderr, has_bars=True)
        yield
    finally:
        sys.stdout, sys.stderr = before
        logger.removeHandler(handler)


class _Messages(logging.Handler):
    """Prints what the package logs."""

    def emit(self, record: logging.LogRecord) -> None:
        show_error(record.getMessage())


def _safe(stream: TextIO, has_bars: bool = False) -> TextIO:
    if isinstance(stream, TextIOWrapper) and stream.errors in (
        "strict",
        "surrogateescape",
    ):  # the second in the locale C
        stream.reconfigure(errors="backslashreplace")
    return cast(TextIO, _SafeStream(stream, has_bars))


class _SafeStream:
    """A stream that makes visible what is written to it, and in all else is the one it stands for.

    Where it may show progress bars, a piece of text that begins with a carriage return is one: it redraws itself, but
    only on a terminal, as nobody watches it elsewhere.
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

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
