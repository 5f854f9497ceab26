"""`tbps gallery list` and `tbps gallery remove`: list or remove images by id or by a filter."""

import argparse
import json
from typing import TYPE_CHECKING

from tbps.cli.filters import add_filter_options, filter_of
from tbps.cli.options import WHERE, open_gallery
from tbps.cli.parser import Commands, add_command, text
from tbps.cli.terminal import show, show_error

if TYPE_CHECKING:
    from tbps.gallery import Gallery
    from tbps.gallery.filters import Filter

_COLUMNS = ("id", "path", "metadata", "camera", "source", "timestamp")


def list_images(options: argparse.Namespace) -> None:
    """Run `tbps gallery list`."""
    columns = options.columns.split(",")
    unknown = [name for name in columns if name not in _COLUMNS]
    if unknown:
        raise ValueError(f"--columns: {unknown[0]!r} is not a column: expected some of {','.join(_COLUMNS)}.")
    gallery, where = open_gallery(options), filter_of(options)
    if options.count:
        show(str(gallery.count(where)))
    elif options.values:
        for value, count in gallery.values(options.values, where):
            line = f"{count:8}  {json.dumps(value, ensure_ascii=False)}"
            show(json.dumps({"value": value, "count": count}) if options.json else line)
    else:
        for row in gallery.rows(where, columns):
            texts = (one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in row.values())
            show(json.dumps(row) if options.json else "  ".join(texts))


def remove(options: argparse.Namespace) -> None:
    """Run `tbps gallery remove`."""
    gallery, where = open_gallery(options), filter_of(options)
    if bool(options.ids) == (where is not None):
        raise ValueError("Which images? Give IDs, or a filter such as --until 30d, and not both.")
    if where is not None:
        _remove_where(gallery, where, options)
    else:
        _remove_ids(gallery, list(dict.fromkeys(options.ids)), options)


def _remove_where(gallery: "Gallery", where: "Filter", options: argparse.Namespace) -> None:
    """Remove the images that meet a filter, with `--yes`; otherwise only print their number."""
    from tbps.gallery.filters import check_restricts

    check_restricts(where)
    if not (options.yes or options.dry_run):
        raise ValueError(
            f"{gallery.count(where)} of {gallery.count()} images meet the filter; none was removed. Repeat the command "
            "with --yes to remove them."
        )
    if options.dry_run:
        count = gallery.count(where)
        text = f"{count} of {gallery.count()} images would be removed"
    else:
        count = gallery.remove(where=where)
        text = f"{count} images removed, {gallery.count()} left"
    show(json.dumps({"removed": 0 if options.dry_run else count, "found": count}) if options.json else text)
    _show_without_timestamp(gallery, where)


def _show_without_timestamp(gallery: "Gallery", where: "Filter") -> None:
    """Report images without a timestamp: they never meet `--until`."""
    from tbps.gallery.filters import Filter
    from tbps.gallery.timestamps import FIRST

    if any(one.end is not None for one in where.flat):
        count = gallery.count(Filter(none_of=[Filter(since=FIRST)]))
        if count:
            show_error(f"{count} images have no timestamp and never meet --until: they stay.")


def _remove_ids(gallery: "Gallery", ids: list[str], options: argparse.Namespace) -> None:
    known = gallery.known(ids)
    count = 0 if options.dry_run else gallery.remove(known)
    unknown = [id for id in ids if id not in known]
    if options.json:
        show(json.dumps({"removed": count, "unknown": unknown}))
    elif known:
        done = f"{count} images removed, {gallery.count()} left"
        show(f"{len(known)} of {gallery.count()} images would be removed" if options.dry_run else done)
    if not known:
        raise ValueError(f"Not in {options.gallery}: {', '.join(unknown)}. `tbps search --json` prints ids.")
    if unknown:
        show_error(f"not in {options.gallery}: {', '.join(unknown)}")


def add_list(gallery: Commands) -> None:
    """Add `tbps gallery list`."""
    command = add_command(gallery, "list", "list the images of a gallery, or the values of their metadata",
                          "tbps gallery list people --camera c1 --since 2026-05-01 --columns id,path\n"
                          "tbps gallery list people --values camera\n"
                          "tbps gallery list people --metadata 'floor>=2' --count",
                          )  # fmt: skip
    command.add_argument("gallery", metavar="GALLERY", help=WHERE)
    output = command.add_mutually_exclusive_group()
    output.add_argument("--columns", default="id,path,metadata", metavar="NAMES",
                        help=f"some of {', '.join(_COLUMNS)} (default: %(default)s)")  # fmt: skip
    output.add_argument("--count", action="store_true", help="print only the number of images")
    output.add_argument("--values", type=text, metavar="NAME", help="count the images for each value of this name")
    command.add_argument("--json", action="store_true", help="print each image, or each value, as a line of JSON")
    add_filter_options(command)
    command.set_defaults(run=list_images)


def add_remove(gallery: Commands) -> None:
    """Add `tbps gallery remove`."""
    command = add_command(gallery, "remove", "remove images by id or by a filter; `compact` erases them from disk",
                          "tbps gallery remove people 94be3ad433dd6e8feda11b894f3c6d0d\n"
                          "tbps gallery remove people --until 30d --camera c1 --dry-run\n"
                          "tbps gallery remove people --until 30d --camera c1 --yes",
                          "Unknown ids are reported; if all are unknown, that is an error. With a filter, images are "
                          "counted, and removed only with --yes. Images without a timestamp never meet --until.",
                          )  # fmt: skip
    command.add_argument("gallery", metavar="GALLERY", help=WHERE)
    command.add_argument("ids", metavar="ID", nargs="*", help="as printed by `tbps search --json`")
    command.add_argument("--dry-run", action="store_true", help="print only how many images would be removed")
    command.add_argument("--yes", action="store_true", help="remove all images that meet the filter")
    command.add_argument(
        "--json", action="store_true", help="print the number of removed images, and unknown ids, as JSON"
    )
    add_filter_options(command)
    command.set_defaults(run=remove)
