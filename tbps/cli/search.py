"""`tbps search`: find images by text, by an image, or by both."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from tbps.cli.filters import add_filter_options, filter_of, show_no_match
from tbps.cli.options import WHERE, check_output, load, open_gallery, token
from tbps.cli.parser import Commands, add_command, path, positive, rename_option, text
from tbps.cli.queries import has_several_queries, read_queries
from tbps.cli.terminal import show, show_error

if TYPE_CHECKING:
    from tbps.gallery import Gallery, Hit, Query

NO_MATCH = 3  # exit status
MODES = ("exact", "int8", "global", "index")
RENAMED = {
    "--images": "--roots",
    "--like": "--image",
    "--text-share": "--text-weight",
    "--exclude-alike": "--exclude-similar",
    "--one-per": "--group-by",
}
_FILE_REMARKS = {"changed": "the file has changed", "gone": "the file is gone"}
_JSON_FIELDS = ("id", "score", "path", "metadata", "parts", "file_state")


def search(options: argparse.Namespace) -> int:
    """Run `tbps search`."""
    check_output("--png", options.png, options.gallery)
    check_output("--html", options.html, options.gallery)
    if options.png or options.html:
        import tbps.report  # noqa: F401 - a missing extra is reported before the search, not after it
    queries = read_queries(options)
    gallery = open_with_model(options)
    arguments = search_arguments(options, gallery)
    reported: list[tuple[str | None, list[Hit]]] = []
    found, failed = 0, 0
    for query in queries:
        try:
            hits = gallery.search(query_of(options, query), k=options.k, **arguments)
        except ValueError as error:
            if not has_several_queries(options):
                raise
            show_error(f"error: {error}")
            failed += 1
            continue
        show_hits(options, query, hits, gallery)
        found += len(hits)
        if options.png or options.html:
            reported.append((query, hits))
    if reported:
        write_reports(options, reported)
    if failed:
        raise ValueError(f"{failed} of the queries failed: see the errors above.")
    return 0 if found else NO_MATCH


def open_with_model(options: argparse.Namespace) -> "Gallery":
    """Open the gallery, which must exist, with the model that made it."""
    from tbps.gallery import Gallery

    open_gallery(options)  # before the model is loaded; with a model, Gallery.open would create a gallery
    return Gallery.open(options.gallery, *load(options.model), roots=options.roots, token=token())


def query_of(options: argparse.Namespace, query: str | None) -> "Query":
    """The query of the text, the image, or both."""
    from tbps.gallery import Query

    if options.text_weight is None:
        return Query(text=query, image=options.image)
    return Query(text=query, image=options.image, text_weight=options.text_weight)


def search_arguments(options: argparse.Namespace, gallery: "Gallery") -> dict[str, Any]:
    """The arguments of `Gallery.search` besides the query and k."""
    min_score, exclude_similar = options.min_score, options.exclude_similar
    if exclude_similar is not None and not options.exclude:
        raise ValueError("--exclude-similar excludes images similar to an excluded one: name that with --exclude ID.")
    if options.calibration is not None:
        if options.image is not None and min_score is None:
            raise ValueError(
                "--calibration is learned from captions, and scores of an image (--image) have another scale: give "
                "--min-score too."
            )
        from tbps.gallery.calibration import Calibration

        calibration = Calibration.load(options.calibration, gallery.fingerprint)
        min_score = calibration.threshold(gallery.count()) if min_score is None else min_score
        exclude_similar = calibration.same_person if exclude_similar is None else exclude_similar
    return {
        "where": filter_of(options),
        "exclude": options.exclude,
        "exclude_similar": exclude_similar,
        "group_by": options.group_by,
        "min_score": min_score,
        "mode": options.mode,
        "candidates": options.candidates,
        "nprobe": options.nprobe,
    }


def show_hits(options: argparse.Namespace, query: str | None, hits: list["Hit"], gallery: "Gallery") -> None:
    """Print a query's hits without waiting for the next query, headed by the query if there are several."""
    several = has_several_queries(options)
    if options.json:
        answer = [{name: getattr(hit, name) for name in _JSON_FIELDS} for hit in hits]
        show(json.dumps({"query": query, "hits": answer} if several else answer))
    elif several:
        show(query or "")
    if hits and not options.json:
        show_table(hits)
    if not hits:
        show_no_match(gallery, filter_of(options), sys.stderr if options.json else sys.stdout)
    sys.stdout.flush()


def show_table(hits: list["Hit"]) -> None:
    """Print rank, score, the contribution of the global embedding to the score, and the image of each hit."""
    show(f"{'rank':>4} {'score':>8} {'global':>8}  image")
    for rank, hit in enumerate(hits, 1):
        remark = f"  ({_FILE_REMARKS[hit.file_state]})" if hit.file_state in _FILE_REMARKS else ""
        show(f"{rank:4} {hit.score:8.4f} {hit.parts[0]:8.4f}  {hit.path or hit.id}{remark}")


def write_reports(options: argparse.Namespace, answers: list[tuple[str | None, list["Hit"]]]) -> None:
    """Write the results as an image (`--png`) and as a page (`--html`)."""
    from tbps.report import QueryResult, write_search_page, write_search_sheet

    like = None if options.image is None else f"like {options.image}"
    results = [QueryResult(query or like or "", hits, note=like if query else None) for query, hits in answers]
    if options.png:
        write_search_sheet(options.png, results)
        show(f"image: {options.png}", sys.stderr)
    if options.html:
        write_search_page(options.html, results)
        show(f"page: {options.html}", sys.stderr)
    hits = [hit for _, found in answers for hit in found]
    if hits and not any(hit.image for hit in hits):
        show(
            "tbps: no image may be shown: name the folders that images may be read from with --roots, or index with "
            "--thumbnails.",
            sys.stderr,
        )


def mode(argument: str) -> str:
    """The name of a search mode."""
    if argument == "prefix":
        raise argparse.ArgumentTypeError("prefix is now called global")
    return argument


def add_search(commands: Commands) -> None:
    """Add `tbps search`."""
    command = add_command(commands, "search", "find the images of a person from a description",
                          'tbps search model people "a woman in a red coat" --roots crops --html hits.html\n'
                          "tbps search model people --image crops/000_0.png --k 3 --json\n"
                          'tbps search model small "a man" --camera c1 --since 2026-05-01 --group-by source',
                          "Several queries in one run load the model only once; with --json each of them prints a line "
                          '{"query": ..., "hits": [...]}. The exit status is 3 if nothing is found.',
                          )  # fmt: skip
    command.add_argument("model", metavar="MODEL", help="the checkpoint that made the gallery")
    command.add_argument("gallery", metavar="GALLERY", help=WHERE)
    command.add_argument("query", metavar="QUERY", type=text, nargs="*",
                         help='"a woman in a red coat with a black backpack"; may be repeated; - reads queries from '
                         "standard input, one per line",
                         )  # fmt: skip
    command.add_argument(
        "--queries", type=path, metavar="FILE", help="also search for the queries of a file, one per line"
    )
    command.add_argument("--image", type=path, metavar="FILE",
                         help='search by an image; with QUERY: "this person, but ..."')  # fmt: skip
    command.add_argument("--text-weight", type=float, metavar="W",
                         help="weight of QUERY against --image, from 0 to 1 (default: 0.5)")  # fmt: skip
    command.add_argument("--k", type=int, help="number of hits (default: 10, or all of a smaller gallery)")
    _add_ranking_options(command)
    add_filter_options(command)
    _add_output_options(command)
    for old, new in RENAMED.items():
        rename_option(command, old, new)
    command.set_defaults(run=search)


def _add_ranking_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("ranking")
    group.add_argument("--min-score", type=float, metavar="S", help="drop hits that score below S")
    group.add_argument("--calibration", type=path, metavar="FILE",
                       help="output of `tbps gallery calibrate`, for text queries: sets --min-score and "
                       "--exclude-similar",
                       )  # fmt: skip
    group.add_argument("--exclude", action="append", default=[], type=text, metavar="ID",
                       help="drop this image; may be repeated")  # fmt: skip
    group.add_argument("--exclude-similar", type=float, metavar="S",
                       help="with --exclude: also drop images whose cosine similarity to an excluded one is at least S",
                       )  # fmt: skip
    group.add_argument("--group-by", type=text, metavar="NAME",
                       help="keep the best hit for each value of this metadata name, and all images without it",
                       )  # fmt: skip
    group.add_argument("--mode", type=mode, default="exact", choices=MODES,
                       help="exact, or a faster first pass: over int8 codes, over global embeddings, or in an index "
                       "made by `tbps gallery build-index` (default: %(default)s)",
                       )  # fmt: skip
    group.add_argument("--candidates", type=positive, metavar="N",
                       help="images of that first pass that are ranked exactly (default: 10 k, at least 100)",
                       )  # fmt: skip
    group.add_argument("--nprobe", type=positive, metavar="N",
                       help="lists of the index that are searched (default: as many as the index needs for its target "
                       "recall)",
                       )  # fmt: skip


def _add_output_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="print the hits as JSON")
    group.add_argument("--png", type=path, metavar="FILE", help="also write the results as an image")
    group.add_argument("--html", type=path, metavar="FILE", help="also write the results as a page")
    group.add_argument("--roots", action="append", default=[], type=path, metavar="FOLDER",
                       help="read images below this folder for --png and --html; may be repeated")  # fmt: skip
