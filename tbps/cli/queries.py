"""The sentences that one run of `tbps search` answers: words of the command line, lines of a file, lines typed."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tbps.cli.terminal import show
from tbps.files_tbps import MOST_TEXT, read_regular

TYPED = "-"


def are_many(options: argparse.Namespace) -> bool:
    """Whether more than one sentence may be asked, whose answers are then told apart."""
    return len(options.query) > 1 or options.queries is not None or TYPED in options.query


def read_sentences(options: argparse.Namespace) -> Iterator[str | None]:
    """Those of the command line, then those of the file, then those typed; None where an image alone is asked for.

    The file is read at once; a typed line comes when it was typed.

    Raises:
        ValueError: there is nothing to search for, a sentence was given without quotes, or the file is no regular one,
            not UTF-8 or holds no sentence.
        OSError: the file cannot be read.
    """
    given = [sentence for sentence in options.query if sentence != TYPED]
    words = [sentence for sentence in given if not sentence.strip() or " " not in sentence.strip()]
    if len(given) > 1 and words:
        raise ValueError(f"{words[0]!r} is a word among several sentences: put each sentence in quotes.")
    if options.text_weight is not None and (options.image is None or not (options.query or options.queries)):
        raise ValueError("--text-weight weighs SENTENCE against --image: give both of them, or leave it out.")
    given += [] if options.queries is None else _lines(options.queries)
    if TYPED in options.query:
        return _with_typed(given)
    if not given and options.image is None:
        raise ValueError("Nothing to search for: give a SENTENCE, --queries FILE, - for lines typed, or --image FILE.")
    return iter(given or [None])


def _lines(file: Path) -> list[str]:
    if not file.is_file() and file.exists():
        raise ValueError(f"--queries {file} is no regular file: give - and pipe the sentences in.")
    try:
        lines = [line.strip() for line in read_regular(file, MOST_TEXT).decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"--queries {file} is not UTF-8 ({error}): save it as such.") from error
    if not any(lines):
        raise ValueError(f"--queries {file} holds no sentence: expected one a line.")
    return [line for line in lines if line]


def _with_typed(given: list[str]) -> Iterator[str]:
    yield from given
    if sys.stdin.isatty():
        show("tbps: a sentence a line; Ctrl-D ends", sys.stderr)
    for line in sys.stdin.buffer:
        if sentence := line.decode("utf-8", "surrogateescape").strip():
            yield sentence
