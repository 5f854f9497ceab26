"""`tbps index` and `tbps search`: images into a gallery, and found again.

`tbps index --sync`: what has become of the files that were indexed before.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from tbps.cli.terminal import show

if TYPE_CHECKING:
    from tbps.gallery import SyncResult
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tbps.cli.filters import add_filter_options, filter_of, show_nobody
from tbps.cli.metadata_file import read_metadata
from tbps.cli.options import WHERE, check_output, load, say, token
from tbps.cli.parser import Commands, add_command, path, rename_option, text
from tbps.cli.queries import are_many, read_sentences
from tbps.cli.terminal import show_error

if TYPE_CHECKING:
    from tbps.gallery import Gallery, Hit, Query
    from tbps.gallery.results import Skipped


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
        for shown in paths[:_SHOWN]:
            show(f"  {kind}: {shown}", sys.stderr)
        if len(paths) > _SHOWN:
            show(f"  and {len(paths) - _SHOWN} more; --json lists all", sys.stderr)


NO_MATCH = 3  # exit status
RENAMED = {
    "--images": "--roots", "--like": "--image", "--text-share": "--text-weight", "--exclude-alike": "--exclude-similar",
    "--one-per": "--group-by",
}  # fmt: skip
SKIPPED_SHOWN = 10
_REMARKS = {"changed": "another file by now", "gone": "gone"}  # by the state of a hit's file


def index(options: argparse.Namespace) -> None:
    """`tbps index`"""
    from tbps.data.images import find_images
    from tbps.evaluation.distributed import is_first
    from tbps.gallery import Gallery

    check_sync_options(options)
    images = find_images(options.images)  # first: a wrong path is said at once
    metadata = None if options.metadata is None else read_metadata(options.metadata, images.paths, options.images)
    model, processor = load(options.model)
    gallery = Gallery.open(options.gallery, model, processor, dtype=options.dtype, token=token())
    result = gallery.add(
        images, metadata, skip_bad=options.skip_bad, thumbnails=options.thumbnails, update=options.update
    )
    synced = gallery.sync(options.images, drop=options.drop) if options.sync and is_first() else None
    if options.json:
        also = {} if synced is None else {"sync": asdict(synced)}
        say(json.dumps({**asdict(result), **also, "count": gallery.count()}))
    else:
        updated = f"{len(result.updated)} updated, " if options.update else ""
        say(f"{len(result.added)} images added, {updated}{gallery.count()} in {options.gallery}")
        if synced is not None:
            show_synced(synced)
    say_skipped(result.skipped)
    if result.moved:
        moved = f"tbps: {len(result.moved)} images are there under the names of files that are gone: --update takes up"
        say(f"{moved} their present ones", file=sys.stderr)
    if result.skipped and not gallery.count():
        raise ValueError(f"None of the {len(images.paths)} images could be read: {options.gallery} is still empty.")


def say_skipped(skipped: list["Skipped"]) -> None:
    """Name the images that were left out."""
    if not skipped:
        return
    lines = [f"  {one.reason}" for one in skipped[:SKIPPED_SHOWN]]
    more = len(skipped) - len(lines)
    lines += [f"  and {more} more; --json lists all"] if more else []
    for line in (f"tbps: skipped {len(skipped)} bad images:", *lines):
        say(line, file=sys.stderr)


def search(options: argparse.Namespace) -> int:
    """`tbps search`"""
    check_output("--png", options.png, options.gallery)
    check_output("--html", options.html, options.gallery)
    if options.png or options.html:
        import tbps.report  # noqa: F401 - says that its extra is missing before the search, not after it
    asked = read_sentences(options)
    gallery = open_gallery(options)
    how = search_options(options, gallery)
    reported: list[tuple[str | None, list[Hit]]] = []
    found, failed = 0, 0
    for sentence in asked:
        try:
            hits = gallery.search(query_of(options, sentence), k=options.k, **how)
        except ValueError as error:
            if not are_many(options):
                raise
            show_error(f"error: {error}")
            failed += 1
            continue
        show_answer(options, sentence, hits, gallery)
        found += len(hits)
        if options.png or options.html:
            reported.append((sentence, hits))
    if reported:
        write_reports(options, reported)
    if failed:
        raise ValueError(f"{failed} sentences could not be answered: they are named above.")
    return 0 if found else NO_MATCH


def show_answer(options: argparse.Namespace, sentence: str | None, hits: list["Hit"], gallery: "Gallery") -> None:
    """Print the hits at once; where there are several sentences, each with its own."""
    many = are_many(options)
    if options.json:
        answer = [as_json(hit) for hit in hits]
        show(json.dumps({"query": sentence, "hits": answer} if many else answer))
    elif many:
        show(sentence or "")
    if hits and not options.json:
        show_table(hits)
    if not hits:
        show_nobody(gallery, filter_of(options), sys.stderr if options.json else sys.stdout)
    sys.stdout.flush()


def open_gallery(options: argparse.Namespace) -> "Gallery":
    """An existing one."""
    from tbps.gallery import Gallery
    from tbps.gallery.open_store import open_existing

    open_existing(options.gallery, token())  # before the model is loaded, and opening would make a new one
    return Gallery.open(options.gallery, *load(options.model), roots=options.roots, token=token())


def query_of(options: argparse.Namespace, sentence: str | None) -> "Query":
    """The sentence, the image, or both."""
    from tbps.gallery import Query

    if options.text_weight is None:
        return Query(text=sentence, image=options.image)
    return Query(text=sentence, image=options.image, text_weight=options.text_weight)


def search_options(options: argparse.Namespace, gallery: "Gallery") -> dict[str, Any]:
    """What `Gallery.search` is told besides the query."""
    min_score, alike = options.min_score, options.exclude_similar
    if alike is not None and not options.exclude:
        raise ValueError("--exclude-similar is about images that look like an excluded one: name it with --exclude ID.")
    if options.calibration is not None:
        if options.image is not None and min_score is None:
            raise ValueError(
                "--calibration is learnt from sentences, and the scores of an image (--image) are of another scale: "
                "give --min-score too."
            )
        from tbps.gallery.calibration import Calibration

        calibration = Calibration.load(options.calibration, gallery.fingerprint)
        min_score = calibration.threshold(gallery.count()) if min_score is None else min_score
        alike = calibration.same_person if alike is None else alike
    return {
        "where": filter_of(options),
        "exclude": options.exclude,
        "exclude_similar": alike,
        "group_by": options.group_by,
        "min_score": min_score,
        "mode": options.mode,
    }


def as_json(hit: "Hit") -> dict[str, Any]:
    """A hit for programs."""
    names = ("id", "score", "path", "metadata", "parts", "file_state")
    return {name: getattr(hit, name) for name in names}


def show_table(hits: list["Hit"]) -> None:
    """Rank, score, the global embedding's share of it, the image."""
    show(f"{'rank':>4} {'score':>8} {'global':>8}  image")
    for rank, hit in enumerate(hits, 1):
        remark = f"  ({_REMARKS[hit.file_state]})" if hit.file_state in _REMARKS else ""
        show(f"{rank:4} {hit.score:8.4f} {hit.parts[0]:8.4f}  {hit.path or hit.id}{remark}")


def write_reports(options: argparse.Namespace, answers: list[tuple[str | None, list["Hit"]]]) -> None:
    """The picture and the page, where they are asked for."""
    from tbps.report import QueryResult, write_search_page, write_search_sheet

    like = None if options.image is None else f"like {options.image}"
    results = [QueryResult(sentence or like or "", hits, note=like if sentence else None) for sentence, hits in answers]
    if options.png:
        write_search_sheet(options.png, results)
        show(f"picture: {options.png}", sys.stderr)
    if options.html:
        write_search_page(options.html, results)
        show(f"page: {options.html}", sys.stderr)
    hits = [hit for _, found in answers for hit in found]
    if hits and not any(hit.image for hit in hits):
        show(
            "tbps: no picture may be shown: name the folders that images may be read from with --roots, or index with "
            "--thumbnails.",
            sys.stderr,
        )


def add_index(commands: Commands) -> None:
    """The command that adds images."""
    command = add_command(commands, "index", "add a folder of images to a gallery",
                          "tbps index model crops people\n"
                          "tbps index model crops small --dtype int8 --thumbnails --metadata crops.jsonl\n"
                          "tbps index model crops people --metadata crops.jsonl --update",
                          "Cut off, the same command goes on where it was. Under torchrun or `accelerate launch` "
                          "processes share the work. The exit status is 2 after an error; with --skip-bad, bad images "
                          "are an error only where the gallery is empty then.")  # fmt: skip
    command.add_argument("model", metavar="MODEL", help="checkpoint directory or Hub id")
    command.add_argument("images", metavar="IMAGES", type=path, help="folder of person crops, with its sub-folders")
    command.add_argument("gallery", metavar="GALLERY", help=f"{WHERE}; made if it is not there")
    command.add_argument("--metadata", type=path, metavar="FILE",
                         help='lines of JSON: {"file": "a/1.jpg", "camera": "c1", "timestamp": "2026-05-01T14:30"}',
                         )  # fmt: skip
    command.add_argument("--dtype", choices=("float32", "float16", "int8"),
                         help="numbers that a new gallery keeps (default float32; int8: a quarter)")  # fmt: skip
    command.add_argument("--thumbnails", action="store_true", help="keep a small picture of each image")
    command.add_argument("--update", action="store_true",
                         help="of images that are there already take up path, --metadata and --thumbnails")  # fmt: skip
    command.add_argument(
        "--skip-bad", action="store_true", help="go on past images that cannot be read, and name them at the end"
    )
    add_sync_options(command)
    command.add_argument("--json", action="store_true", help="print what became of the images as JSON")
    command.set_defaults(run=index)


def add_search(commands: Commands) -> None:
    """The command that finds images."""
    command = add_command(commands, "search", "find the images of a person by a sentence",
                          'tbps search model people "a woman in a red coat" --roots crops --html hits.html\n'
                          "tbps search model people --image crops/000_0.png --k 3 --json\n"
                          'tbps search model small "a man" --camera c1 --since 2026-05-01 --group-by source',
                          "Several sentences in one run take the time to start but once; with --json each gives a line "
                          '{"query": ..., "hits": [...]}. The exit status is 3 where nothing fits.')  # fmt: skip
    command.add_argument("model", metavar="MODEL", help="the checkpoint that made the gallery")
    command.add_argument("gallery", metavar="GALLERY", help=WHERE)
    command.add_argument(
        "query",
        metavar="SENTENCE",
        type=text,
        nargs="*",
        help='"a woman in a red coat with a black backpack"; may be repeated; - takes sentences as lines are typed',
    )
    command.add_argument("--queries", type=path, metavar="FILE", help="also answer these sentences, one a line")
    command.add_argument("--image", type=path, metavar="FILE", help="an image; with SENTENCE: this person, but ...")
    command.add_argument("--text-weight", type=float, help="weight of SENTENCE beside --image (default 0.5)")
    command.add_argument("--k", type=int, help="number of images (default: 10, or all of a smaller gallery)")
    add_filter_options(command)
    command.add_argument("--exclude", action="append", default=[], type=text, metavar="ID",
                         help="not this image; may be repeated")  # fmt: skip
    command.add_argument("--exclude-similar", type=float, metavar="LIKENESS",
                         help="nor images that look so much like an excluded one (cosine)")  # fmt: skip
    command.add_argument(
        "--group-by",
        type=text,
        metavar="NAME",
        help="one hit for each value of a metadata name; images without it are kept",
    )
    command.add_argument("--min-score", type=float, help="leave out hits below")
    command.add_argument(
        "--calibration",
        type=path,
        metavar="FILE",
        help="of `tbps gallery calibrate`, for sentences: sets --min-score and --exclude-similar",
    )
    command.add_argument(
        "--mode", default="exact", choices=("exact", "int8", "global", "index"), help="(default exact)"
    )
    command.add_argument("--roots", action="append", default=[], type=path, metavar="FOLDER",
                         help="images below it may be opened for --png and --html; may be repeated")  # fmt: skip
    command.add_argument("--png", type=path, help="also write the result as a picture")
    command.add_argument("--html", type=path, help="also write the result as a page")
    command.add_argument("--json", action="store_true", help="print the hits as JSON")
    for old, new in RENAMED.items():
        rename_option(command, old, new)
    command.set_defaults(run=search)
