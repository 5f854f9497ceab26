"""`tbps index`: add a folder of images to a gallery; with `--sync` also check the files that were added before."""

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from tbps.cli.metadata_file import read_metadata
from tbps.cli.options import WHERE, load, say, token
from tbps.cli.parser import Commands, add_command, path
from tbps.cli.terminal import show

if TYPE_CHECKING:
    from tbps.gallery import SyncResult
    from tbps.gallery.results import AddResult, Skipped

_SHOWN = 10  # names of one kind that are printed
_SYNC_KINDS = ("moved", "gone", "replaced", "unreadable")


def index(options: argparse.Namespace) -> None:
    """Run `tbps index`."""
    from tbps.data.images import find_images
    from tbps.evaluation.distributed import is_main_process
    from tbps.gallery import Gallery

    if options.drop and not options.sync:
        raise ValueError("--drop removes what --sync finds gone or replaced: give --sync too.")
    images = find_images(options.images)  # before the model is loaded: a wrong path is reported at once
    metadata = None if options.metadata is None else read_metadata(options.metadata, images.paths, options.images)
    gallery = Gallery.open(options.gallery, *load(options.model), dtype=options.dtype, token=token())
    added = gallery.add(
        images, metadata, skip_bad=options.skip_bad, thumbnails=options.thumbnails, update=options.update
    )
    synced = gallery.sync(options.images, drop=options.drop) if options.sync and is_main_process() else None
    _show_result(options, added, synced, gallery.count())
    if added.skipped and not gallery.count():
        raise ValueError(f"None of the {len(images.paths)} images could be read: {options.gallery} is still empty.")


def _show_result(options: argparse.Namespace, added: "AddResult", synced: "SyncResult | None", count: int) -> None:
    if options.json:
        sync = {} if synced is None else {"sync": asdict(synced)}
        say(json.dumps({**asdict(added), **sync, "count": count}))
    else:
        updated = f"{len(added.updated)} updated, " if options.update else ""
        say(f"{len(added.added)} images added, {updated}{count} in {options.gallery}")
        if synced is not None:
            show_synced(synced)
    _say_skipped(added.skipped)
    if added.moved:
        say(
            f"tbps: {len(added.moved)} images are in the gallery under paths of files that are gone: --update stores "
            "their new paths",
            file=sys.stderr,
        )


def _say_skipped(skipped: list["Skipped"]) -> None:
    if not skipped:
        return
    lines = [f"  {one.reason}" for one in skipped[:_SHOWN]]
    more = len(skipped) - len(lines)
    lines += [f"  and {more} more; --json lists all"] if more else []
    for line in (f"tbps: skipped {len(skipped)} bad images:", *lines):
        say(line, file=sys.stderr)


def show_synced(result: "SyncResult") -> None:
    """Print the number of files of each kind, and the first paths to standard error."""
    counts = ", ".join(f"{len(getattr(result, kind))} {kind}" for kind in _SYNC_KINDS)
    show(f"files indexed before: {result.unchanged} unchanged, {counts}; {result.dropped} images dropped")
    if not result.unchanged and not any(getattr(result, kind) for kind in _SYNC_KINDS):
        show("  the gallery has no image from below this folder, under this name of the folder", sys.stderr)
    for kind in _SYNC_KINDS:
        paths = list(getattr(result, kind).values())
        for shown in paths[:_SHOWN]:
            show(f"  {kind}: {shown}", sys.stderr)
        if len(paths) > _SHOWN:
            show(f"  and {len(paths) - _SHOWN} more; --json lists all", sys.stderr)


def add_index(commands: Commands) -> None:
    """Add `tbps index`."""
    command = add_command(commands, "index", "add a folder of images to a gallery",
                          "tbps index model crops people\n"
                          "tbps index model crops small --dtype int8 --thumbnails --metadata crops.jsonl\n"
                          "tbps index model crops people --metadata crops.jsonl --update",
                          "If it is interrupted, the same command continues where it stopped. Under torchrun or "
                          "`accelerate launch` the processes share the work. The exit status is 2 after an error. With "
                          "--skip-bad, bad images are an error only if the gallery is still empty.",
                          )  # fmt: skip
    command.add_argument("model", metavar="MODEL", help="checkpoint directory or Hub id")
    command.add_argument("images", metavar="IMAGES", type=path, help="folder of person crops, read with its subfolders")
    command.add_argument("gallery", metavar="GALLERY", help=f"{WHERE}; created if missing")
    command.add_argument("--metadata", type=path, metavar="FILE",
                         help='lines of JSON: {"file": "a/1.jpg", "camera": "c1", "timestamp": "2026-05-01T14:30"}',
                         )  # fmt: skip
    command.add_argument("--dtype", choices=("float32", "float16", "int8"),
                         help="number format of a new gallery (default: float32; int8 takes a quarter of the space)",
                         )  # fmt: skip
    command.add_argument("--thumbnails", action="store_true", help="store a small copy of each image")
    command.add_argument("--update", action="store_true",
                         help="store path, --metadata and --thumbnails also for images that are already in the gallery",
                         )  # fmt: skip
    command.add_argument("--skip-bad", action="store_true", help="skip images that cannot be read, and list them")
    command.add_argument("--sync", action="store_true",
                         help="also report files indexed before that are now gone, moved or replaced")  # fmt: skip
    command.add_argument("--drop", action="store_true",
                         help="with --sync: remove images whose file is gone or replaced, and update moved paths",
                         )  # fmt: skip
    command.add_argument("--json", action="store_true", help="print the result for each image as JSON")
    command.set_defaults(run=index)
