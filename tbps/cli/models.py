"""Commands on a checkpoint: `tbps evaluate` and `tbps push`."""

import argparse
import json
import sys

from tbps.cli.options import add_benchmark, load, load_splits, say
from tbps.cli.parser import Commands, add_command, path, positive
from tbps.cli.terminal import show


def evaluate(options: argparse.Namespace) -> None:
    """Run `tbps evaluate`."""
    from tbps.data.provenance import provenance, why_not_comparable
    from tbps.data.splits import select_split
    from tbps.evaluation.retrieval import evaluate_retrieval

    splits = load_splits(options)
    rows = select_split(splits, options.benchmark, options.split)
    model, processor = load(options.model)
    metrics = evaluate_retrieval(model, processor, rows, batch_size=options.batch_size)
    if options.json:
        say(json.dumps(metrics))
    else:
        say(f"{options.benchmark} {options.split}: {len(rows)} images, text to image, {options.model}")
        say("".join(f"{name:>9}" for name in metrics))
        say("".join(f"{100 * value:9.2f}" for value in metrics.values()))
    known = provenance(options.benchmark, options.root, splits)[options.split]
    if reason := why_not_comparable(options.benchmark, options.split, known):
        say(f"tbps: no result on {options.benchmark}: {reason}", file=sys.stderr)


def push(options: argparse.Namespace) -> None:
    """Run `tbps push`."""
    from tbps import register
    from tbps.sharing.push import push_run

    register()  # otherwise Transformers treats the processor of a checkpoint that carries its code as remote code
    address = push_run(
        options.run_dir, options.repo, private=options.private, revision=options.revision, license=options.license
    )
    show(f"pushed {options.run_dir} to {address}")


def add_evaluate(commands: Commands) -> None:
    """Add `tbps evaluate`."""
    command = add_command(commands, "evaluate", "measure text-to-image retrieval of a checkpoint on a benchmark",
                          "tbps evaluate model ToyPEDES data --split test")  # fmt: skip
    command.add_argument("model", metavar="MODEL", help="checkpoint directory or Hub id")
    add_benchmark(command)
    command.add_argument("--split", default="test", help="train, val or test (default: %(default)s)")
    command.add_argument("--batch-size", type=positive, default=64, metavar="N",
                         help="images per batch (default: %(default)s)")  # fmt: skip
    command.add_argument("--json", action="store_true", help="print the metrics as JSON, in [0, 1]")
    command.set_defaults(run=evaluate)


def add_push(commands: Commands) -> None:
    """Add `tbps push`."""
    command = add_command(commands, "push", "upload a trained model to the Hugging Face Hub, with a model card",
                          "tbps push model me/tbps-toy --private")  # fmt: skip
    command.add_argument(
        "run_dir", metavar="RUN_DIR", type=path, help="output directory of train_hf.py, or a checkpoint"
    )
    command.add_argument("repo", metavar="NAME/MODEL", help="repository on the Hub; created if missing")
    command.add_argument("--private", action="store_true", default=None, help="create the repository as private")
    command.add_argument("--revision", metavar="BRANCH", help="branch to push to; created if missing")
    command.add_argument("--license", help="licence of the weights for the model card, such as apache-2.0")
    command.set_defaults(run=push)
