"""`tbps data`: render people, check a benchmark, turn a pre-training corpus into shards."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tbps.data.benchmarks import BENCHMARKS
from tbps.data.corpora.formats import FORMATS

if TYPE_CHECKING:
    from datasets import DatasetDict

EXAMPLE = """example:
  tbps data shard mals MALS/train_1.json MALS/train_2.json shards/mals --images MALS/images --workers 8
"""


def load_splits(options: argparse.Namespace) -> "DatasetDict":
    """The benchmark that the command names."""
    from tbps.data.loading import load_benchmark

    return load_benchmark(
        options.benchmark,
        options.root,
        skip_missing=options.skip_missing,
        skip_empty_captions=options.skip_empty_captions,
    )


def make_toy_data(options: argparse.Namespace) -> None:
    """`tbps data toy`"""
    from tbps.toypedes import generate

    summary = generate(
        options.out, people=options.people, images_per_person=options.images_per_person, seed=options.seed
    )
    print(summary.describe())


def check_data(options: argparse.Namespace) -> None:
    """`tbps data check`"""
    splits = load_splits(options)
    for name, rows in splits.items():
        captions = sum(len(row) for row in rows["captions"])
        print(f"{name:6}{len(set(rows['person_id'])):8} people {len(rows):8} images {captions:8} captions")


def shard_corpus(options: argparse.Namespace) -> None:
    """`tbps data shard`"""
    from tbps.data.corpora.writer import write_corpus

    index = write_corpus(
        options.format,
        options.sources,
        options.out,
        options.images or options.sources[0].parent,
        entries_per_shard=options.rows_per_shard,
        skip_bad=options.skip_bad,
        workers=options.workers,
    )
    skipped = sum(len(shard.skipped) for shard in index.shards)
    left_out = f", {skipped} faults left out (named in corpus.json)" if skipped else ""
    print(f"{index.rows} images in {len(index.shards)} shards in {options.out}{left_out}")


def verify_corpus(options: argparse.Namespace) -> None:
    """`tbps data verify`"""
    from tbps.data.corpora.errors import CorpusError
    from tbps.data.corpora.index import faults, read_index

    found = list(faults(options.corpus))
    if found:
        raise CorpusError("\n  ".join([f"{len(found)} faults:", *found]))
    index = read_index(options.corpus)
    print(f"{index.rows} images in {len(index.shards)} shards in {options.corpus}, all as they were written")


def add_data(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The commands that make or check data."""
    data = commands.add_parser("data", help="make or check data").add_subparsers(required=True, metavar="COMMAND")
    toy = data.add_parser("toy", help="render ToyPEDES, people with captions in the layout of CUHK-PEDES")
    toy.add_argument("out", metavar="OUT", help="folder to write ToyPEDES/ into")
    toy.add_argument("--people", type=int, default=1000, help="70 %% train, 10 %% val, 20 %% test (default 1000)")
    toy.add_argument("--images-per-person", type=int, default=3, help="(default 3)")
    toy.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default 0)")
    toy.set_defaults(run=make_toy_data)
    check = data.add_parser("check", help="load a benchmark, report what is wrong with it or what it holds")
    add_benchmark(check)
    check.set_defaults(run=check_data)
    add_shard(data)
    command = data.add_parser("verify", help="read all shards of a corpus through and compare their checksums")
    command.add_argument("corpus", metavar="CORPUS", type=Path, help="folder that `tbps data shard` made")
    command.set_defaults(run=verify_corpus)


def add_shard(data: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command that converts a corpus."""
    command = data.add_parser(
        "shard",
        help="write a pre-training corpus as parquet shards with the images inside",
        description="Write a pre-training corpus as parquet shards with the images inside. Stopped half-way, the same "
        "command goes on after the last whole shard.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("format", metavar="FORMAT", choices=FORMATS, help=", ".join(FORMATS))
    command.add_argument("sources", metavar="SOURCE", type=Path, nargs="+", help="JSON files of the corpus")
    command.add_argument("out", metavar="OUT", type=Path, help="folder of the shards; made if it is not there")
    command.add_argument("--images", type=Path, help="folder the paths start from (default: that of the first SOURCE)")
    command.add_argument("--rows-per-shard", type=positive, default=1000, help="images of a shard (default 1000)")
    command.add_argument("--skip-bad", action="store_true", help="leave out what cannot be read, and say what it was")
    command.add_argument("--workers", type=positive, default=2, help="threads that read images (default 2)")
    command.set_defaults(run=shard_corpus)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return int(text)


def add_benchmark(command: argparse.ArgumentParser) -> None:
    """The options by which a benchmark on disk is named."""
    command.add_argument("benchmark", metavar="BENCHMARK", help=", ".join(BENCHMARKS))
    command.add_argument("root", metavar="ROOT", help="folder that holds the benchmark's folder, or that folder")
    command.add_argument("--skip-missing", action="store_true", help="go on without images that are not on disk")
    command.add_argument("--skip-empty-captions", action="store_true", help="go on without captions that are blank")
