"""The argument parser of `tbps`: commands with examples, errors on one line, and types of arguments.

It is based on argparse, not on typer. With typer a command starts more slowly, repeats shared options in its signature
and joins the lines of its examples.
"""

import argparse
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from tbps.cli.terminal import show_error
from tbps.data.paths import local_path, name_as_text

ERROR = 2  # exit status


class Parser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviated options and reports an error on one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        """Print the message and end the program with status 2."""
        show_error(f"error: {message.rstrip('.')}. See `{self.prog} --help`.")
        self.exit(ERROR)


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # returned by add_subparsers, without a public name


def add_commands(parser: argparse.ArgumentParser) -> Commands:
    """Make a parser require a command. Add the commands to what is returned."""
    return parser.add_subparsers(required=True, metavar="COMMAND", title="commands", parser_class=Parser)


def add_group(commands: Commands, name: str, help: str) -> Commands:
    """Add a group of commands, such as `tbps data`."""
    return add_commands(commands.add_parser(name, help=help, description=_as_sentence(help)))


def add_command(commands: Commands, name: str, help: str, examples: str, more: str = "") -> Parser:
    """
    Add a command whose `--help` ends with examples.

    Args:
        help: what the command does, in one line.
        examples: one command line or several; a test runs them in this order.
        more: facts for the command's own help page.
    """
    lines = examples.splitlines()
    command = commands.add_parser(
        name,
        help=help,
        description=wrapped(f"{_as_sentence(help)} {more}".strip()),
        epilog="\n  ".join(["examples:" if len(lines) > 1 else "example:", *lines]),
    )
    command.set_defaults(parser=command)
    return command


def wrapped(text: str) -> str:
    """Wrap a text to the width of the terminal."""
    return textwrap.fill(text, shutil.get_terminal_size().columns - 4)


def _as_sentence(help: str) -> str:
    return f"{help[0].upper()}{help[1:]}."


def rename_option(command: argparse.ArgumentParser, old: str, new: str) -> None:
    """Refuse an option of an earlier version with an error that names the present one."""
    command.add_argument(old, action=_Renamed, nargs="?", const=new, help=argparse.SUPPRESS)


class _Renamed(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: str | Sequence[Any] | None, option: Any = None
    ) -> NoReturn:
        parser.error(f"{option} is now called {self.const}")


def path(argument: str) -> Path:
    """A path, or a `file://` address."""
    try:
        return local_path(argument)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def text(argument: str) -> str:
    """A query, a name or an id as UTF-8, whatever encoding Python assumes for arguments."""
    return name_as_text(argument)


def positive(argument: str) -> int:
    """An integer of at least 1."""
    if int(argument) < 1:
        raise argparse.ArgumentTypeError(f"{argument}: expected 1 or more")
    return int(argument)
