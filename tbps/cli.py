"""The `tbps` command: make or check data, evaluate a checkpoint, index and search images, push a model."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tbps.cli_data import add_benchmark, add_data, load_splits, positive

# Each command imports what it needs when it runs: datasets, matplotlib and the rest take seconds.
if TYPE_CHECKING:
    from tbps.modeling_tbps import TBPSModel
    from tbps.processing_tbps import TBPSProcessor


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; what the user can mend is said in one line, without a traceback."""
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        print(f"\ntbps: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ntbps: stopped; what a gallery was given, and shards that were written, are kept.", file=sys.stderr)
        return 130
    return 0


def load(checkpoint: str) -> "tuple[TBPSModel, TBPSProcessor]":
    """A tbps checkpoint's model, ready for use, and its processor."""
    from transformers import AutoProcessor

    from tbps.modeling_tbps import TBPSModel

    return TBPSModel.from_pretrained(checkpoint).eval(), AutoProcessor.from_pretrained(checkpoint)


def evaluate(options: argparse.Namespace) -> None:
    """`tbps evaluate`"""
    from tbps.data.splits import select_split
    from tbps.evaluation import evaluate_retrieval

    splits = load_splits(options)
    rows = select_split(splits, options.benchmark, options.split)
    model, processor = load(options.model)
    metrics = evaluate_retrieval(model, processor, rows, batch_size=options.batch_size)
    if options.json:
        print(json.dumps(metrics))
        return
    print(f"{options.benchmark} {options.split}: {len(rows)} images, text to image, {options.model}")
    print("".join(f"{name:>9}" for name in metrics))
    print("".join(f"{100 * value:9.2f}" for value in metrics.values()))


def index(options: argparse.Namespace) -> None:
    """`tbps index`"""
    from tbps.data.images import list_images
    from tbps.gallery import Gallery

    images = list_images(options.images)  # first: no gallery is made where there is nothing to add
    gallery = Gallery.open(options.gallery, *load(options.model))
    added = gallery.add(images, skip_bad=options.skip_bad)
    print(f"{len(added)} images added, {gallery.count()} in {options.gallery}")


def search(options: argparse.Namespace) -> None:
    """`tbps search`"""
    from tbps.gallery import Gallery
    from tbps.report import QueryResult, write_search_page, write_search_sheet

    if not any(Path(options.gallery).glob("*")):
        raise FileNotFoundError(f"{options.gallery} is no gallery: make one with `tbps index MODEL IMAGES GALLERY`.")
    gallery = Gallery.open(options.gallery, *load(options.model))
    hits = gallery.search(options.query, k=options.k)
    print(f"{'rank':>4} {'score':>8}  image")
    for rank, hit in enumerate(hits, 1):
        print(f"{rank:4} {hit.score:8.4f}  {hit.path or hit.id}")
    result = QueryResult(query=options.query, hits=hits)
    if options.png:
        write_search_sheet(options.png, [result])
        print(f"picture: {options.png}")
    if options.html:
        write_search_page(options.html, [result])
        print(f"page: {options.html}")


def push(options: argparse.Namespace) -> None:
    """`tbps push`"""
    from tbps.sharing.run import push_run

    address = push_run(
        options.run_dir, options.repo, private=options.private, revision=options.revision, license=options.license
    )
    print(f"pushed {options.run_dir} to {address}")


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="tbps", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    add_data(commands)
    command = commands.add_parser("evaluate", help="text-to-image retrieval of a checkpoint on a benchmark")
    command.add_argument("model", metavar="MODEL", help="checkpoint directory or Hub id")
    add_benchmark(command)
    command.add_argument("--split", default="test", help="train, val or test (default test)")
    command.add_argument("--batch-size", type=positive, default=64, help="images at a time (default 64)")
    command.add_argument("--json", action="store_true", help="print the metrics as JSON, in [0, 1]")
    command.set_defaults(run=evaluate)

    command = commands.add_parser("index", help="add a folder of images to a gallery")
    command.add_argument("model", metavar="MODEL", help="checkpoint directory or Hub id")
    command.add_argument("images", metavar="IMAGES", type=Path, help="folder of person crops, with its sub-folders")
    command.add_argument("gallery", metavar="GALLERY", help="folder of the gallery; made if it is not there")
    command.add_argument("--skip-bad", action="store_true", help="go on past files that are no readable image")
    command.set_defaults(run=index)

    command = commands.add_parser("search", help="find the images of a person by a sentence")
    command.add_argument("model", metavar="MODEL", help="the checkpoint that made the gallery")
    command.add_argument("gallery", metavar="GALLERY", help="folder of the gallery")
    command.add_argument("query", metavar="SENTENCE", help='such as "a woman in a red coat with a black backpack"')
    command.add_argument("--k", type=int, help="number of images (default: 10, or all of a smaller gallery)")
    command.add_argument("--png", type=Path, help="also write the result as a picture")
    command.add_argument("--html", type=Path, help="also write the result as a page")
    command.set_defaults(run=search)
    add_push(commands)
    return parser


def add_push(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command that shares a model."""
    command = commands.add_parser("push", help="share a trained model on the Hugging Face Hub, with a model card")
    command.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="output directory of train_hf.py, a checkpoint")
    command.add_argument("repo", metavar="NAME/MODEL", help="repository on the Hub; made if it is not there")
    command.add_argument("--private", action="store_true", default=None, help="make a private one")
    command.add_argument("--revision", metavar="BRANCH", help="branch to push to; made if it is not there")
    command.add_argument("--license", help="licence of the weights for the card, such as apache-2.0")
    command.set_defaults(run=push)


if __name__ == "__main__":
    sys.exit(main())
