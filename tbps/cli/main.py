"""The `tbps` command: make or check data, evaluate a checkpoint, index and search images, push a model."""

import argparse
import os
import sys
from collections.abc import Sequence

from tbps.cli.data import add_data
from tbps.cli.gallery import add_gallery
from tbps.cli.models import add_evaluate, add_push
from tbps.cli.parser import Parser, text
from tbps.cli.queries import TYPED
from tbps.cli.search import add_index, add_search
from tbps.cli.terminal import safe_streams, show_error
from tbps.files_tbps import VERSION

ERROR, STOPPED, CUT = 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what the user can mend is said in one line, without a traceback.

    Returns:
        The exit status: 0; 3 where a search finds nothing; 2 after an error; 130 when stopped by the keyboard;
        141 when nobody reads the output any more.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported: threads that wait do not spin
    with safe_streams():
        options = parse(arguments)
        try:
            return options.run(options) or 0
        except BrokenPipeError:  # whoever read the output, as `head` does, has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left is not flushed to them
            return CUT
        except (ValueError, OSError, ImportError) as error:
            show_error(f"error: {error}")
            return ERROR
        except KeyboardInterrupt:
            show_error("stopped; what a gallery was given, and shards that were written, are kept.")
            return STOPPED


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """
    The options of a command. Wrong usage ends the program with status 2 and a message on one line.

    Sentences may also follow options, where argparse would call them unrecognized.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = build_parser()
    if words[:2] == ["gallery", "index"]:
        parser.error("tbps gallery index is now called tbps gallery build-index")
    options, left = parser.parse_known_args(words)
    if left and hasattr(options, "query") and not any(word.startswith("-") and word != TYPED for word in left):
        options.query += map(text, left)
    elif left:
        options.parser.error(f"unrecognized arguments: {' '.join(left)}")
    return options


def build_parser() -> Parser:
    """All commands and their options."""
    parser = Parser(prog="tbps", description=__doc__)
    parser.add_argument("--version", action="version", version=f"tbps {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_data, add_evaluate, add_index, add_search, add_gallery, add_push):
        add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
