"""A program that a user starts: what the user can mend is said in one line, without a traceback."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from tbps.printable_tbps import printable

ERROR, STOPPED = 2, 130


class OneLineErrors:
    """Mixin of a parser whose errors are exceptions and no usage message."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line.

        Raises:
            ValueError: says what is wrong with it.
        """
        raise ValueError(f"{message}; `--help` lists the options.")


class OneLineParser(OneLineErrors, argparse.ArgumentParser):
    """`argparse.ArgumentParser` with such errors."""


def run(name: str, main: Callable[[Sequence[str]], Any], arguments: Sequence[str]) -> int:
    """Run a program.

    Returns:
        The exit status: 0; 2 after an error that the user can mend, which is said in one line on standard error; 130
        when stopped by the keyboard. Other errors are the program's own and keep their traceback.
    """
    try:
        main(arguments)
    except (ValueError, OSError, ImportError) as error:
        sys.stderr.write(f"{name}: error: {printable(' '.join(str(error).split()))}\n")
        return ERROR
    except KeyboardInterrupt:
        sys.stderr.write(f"{name}: stopped; whole checkpoints are kept (--resume_from_checkpoint true).\n")
        return STOPPED
    return 0
