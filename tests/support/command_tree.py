"""The commands of the `tbps` parser, found by following its sub-parsers, and the examples in their help."""

import argparse
from collections.abc import Iterator


def all_commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each command of the parser: its name, such as "gallery info", and its own parser."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        for word, command in group.choices.items():
            yield from all_commands(command, f"{name} {word}".strip())
    if not groups:
        yield name, parser


def example_lines(parser: argparse.ArgumentParser) -> list[str]:
    """The commands that the help of a command shows as examples."""
    epilog = parser.epilog or ""
    return [line.strip() for line in epilog.splitlines() if line.startswith("  tbps ")]
