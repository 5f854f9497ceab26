"""`tbps index --sync`: what has become of the files that were indexed before."""

import argparse
import sys
from typing import TYPE_CHECKING

from tbps.commands.terminal import show

if TYPE_CHECKING:
    from tbps.gallery import SyncResult

_SHOWN = 10  # paths of each kind
_KINDS = ("moved", "gone", "replaced", "unreadable")


def add_sync_options(command: argparse.ArgumentParser) -> None:
    """The two options."""
    command.add_argument("--sync", action="store_true",
                         help="also name files indexed before that are gone or replaced")  # fmt: skip
    command.add_argument("--drop", action="store_true",
                         help="with --sync: take those out, and give moved files their new path")  # fmt: skip


def check_sync_options(options: argparse.Namespace) -> None:
    """Refuse what would do nothing.

    Raises:
        ValueError: `--drop` without `--sync`.
    """
    if options.drop and not options.sync:
        raise ValueError("--drop takes out what --sync finds gone or replaced: give --sync too.")


def show_synced(result: "SyncResult") -> None:
    """How many there are of each kind, and the first paths."""
    counts = ", ".join(f"{len(getattr(result, kind))} {kind}" for kind in _KINDS)
    show(f"files indexed before: {result.unchanged} unchanged, {counts}; {result.dropped} images dropped")
    if not result.unchanged and not any(getattr(result, kind) for kind in _KINDS):
        show("  the gallery has no image of a file below this folder, by this name of it", sys.stderr)
    for kind in _KINDS:
        paths = list(getattr(result, kind).values())
        for path in paths[:_SHOWN]:
            show(f"  {kind}: {path}", sys.stderr)
        if len(paths) > _SHOWN:
            show(f"  and {len(paths) - _SHOWN} more; --json lists all", sys.stderr)
