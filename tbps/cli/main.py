"""Text-based person search: make or check data, evaluate a checkpoint, index and search images, push a model."""

import argparse
import os
import sys
from collections.abc import Sequence

from tbps.cli.data import add_data
from tbps.cli.gallery import add_gallery
from tbps.cli.index import add_index
from tbps.cli.models import add_evaluate, add_push
from tbps.cli.parser import ERROR, Parser, add_commands, text, wrapped
from tbps.cli.queries import STDIN
from tbps.cli.search import add_search
from tbps.cli.terminal import safe_streams, show_error
from tbps.files_tbps import VERSION

INTERRUPTED, OUTPUT_CLOSED = 130, 141
EXAMPLES = """examples:
  tbps index model crops people
  tbps search model people "a woman in a red coat"

`tbps COMMAND --help` shows the options of a command and examples."""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run one command. An error that the user can fix is reported on one line, without a traceback.

    Returns:
        The exit status: 0; 3 if a search finds nothing; 2 after an error; 130 after Ctrl-C; 141 if the reader of the
        output has closed it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported: idle threads do not spin
    with safe_streams():
        options = parse(arguments)
        try:
            return options.run(options) or 0
        except BrokenPipeError:  # the reader, such as `head`, has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing more is flushed to it
            return OUTPUT_CLOSED
        except (ValueError, OSError, ImportError) as error:
            show_error(f"error: {error}")
            return ERROR
        except KeyboardInterrupt:
            show_error("interrupted. Images that a gallery has stored and shards that are complete are kept.")
            return INTERRUPTED


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """
    Parse a command line. Wrong usage ends the program with status 2 and a message on one line.

    Queries may also follow options, where argparse alone would not accept them.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = build_parser()
    if words[:2] == ["gallery", "index"]:
        parser.error("tbps gallery index is now called tbps gallery build-index")
    options, left = parser.parse_known_args(words)
    if left and hasattr(options, "query") and not any(word.startswith("-") and word != STDIN for word in left):
        options.query += map(text, left)
    elif left:
        options.parser.error(f"unrecognized arguments: {' '.join(left)}")
    return options


def build_parser() -> Parser:
    """Build the parser of all commands."""
    parser = Parser(prog="tbps", description=wrapped(str(__doc__)), epilog=EXAMPLES)
    parser.add_argument("--version", action="version", version=f"tbps {VERSION}")
    commands = add_commands(parser)
    for add in (add_data, add_evaluate, add_index, add_search, add_gallery, add_push):
        add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
