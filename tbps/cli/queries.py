"""The text queries of one run of `tbps search`: arguments, lines of a file, and lines of standard input."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tbps.cli.terminal import show
from tbps.files_tbps import MAX_TEXT_BYTES, read_regular

STDIN = "-"


def has_several_queries(options: argparse.Namespace) -> bool:
    """Whether the run may answer more than one query, so that the output must name each of them."""
    return len(options.query) > 1 or options.queries is not None or STDIN in options.query


def read_queries(options: argparse.Namespace) -> Iterator[str | None]:
    """
    Read the queries of the arguments, then those of the file, then those of standard input; None for a search by image
    alone.

    The file is read at once, standard input line by line.

    Raises:
        ValueError: there is nothing to search for; a query was given without quotes; or the file is not a regular file
            of UTF-8 with at least one query.
        OSError: the file cannot be read.
    """
    queries = [query for query in options.query if query != STDIN]
    words = [query for query in queries if not query.strip() or " " not in query.strip()]
    if len(queries) > 1 and words:
        raise ValueError(f"{words[0]!r} is a single word among several queries: put each query in quotes.")
    if options.text_weight is not None and (options.image is None or not (options.query or options.queries)):
        raise ValueError("--text-weight weighs QUERY against --image: give both, or leave out --text-weight.")
    queries += [] if options.queries is None else _lines(options.queries)
    if STDIN in options.query:
        return _followed_by_stdin(queries)
    if not queries and options.image is None:
        raise ValueError("Nothing to search for: give a QUERY, --queries FILE, - for standard input, or --image FILE.")
    return iter(queries or [None])


def _lines(file: Path) -> list[str]:
    if not file.is_file() and file.exists():
        raise ValueError(f"--queries {file} is not a regular file: give - and pipe the queries in.")
    try:
        lines = [line.strip() for line in read_regular(file, MAX_TEXT_BYTES).decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"--queries {file} is not UTF-8 ({error}). Save it as UTF-8.") from error
    if not any(lines):
        raise ValueError(f"--queries {file} has no query: expected one per line.")
    return [line for line in lines if line]


def _followed_by_stdin(queries: list[str]) -> Iterator[str]:
    yield from queries
    if sys.stdin.isatty():
        show("tbps: type one query per line; Ctrl-D ends", sys.stderr)
    for line in sys.stdin.buffer:
        if query := line.decode("utf-8", "surrogateescape").strip():
            yield query
