"""`tbps data`: render people, check a benchmark, turn a pre-training corpus into shards."""

import argparse

from tbps.cli.options import add_benchmark, load_splits
from tbps.cli.parser import Commands, add_command, path, positive, rename_option
from tbps.cli.terminal import show
from tbps.data.corpora import FORMAT_NAMES


def make_toy_data(options: argparse.Namespace) -> None:
    """`tbps data toy`"""
    from tbps.data.toypedes import generate

    summary = generate(
        options.out, people=options.people, images_per_person=options.images_per_person, seed=options.seed
    )
    for line in summary.describe().splitlines():
        show(line)


def check_data(options: argparse.Namespace) -> None:
    """`tbps data check`"""
    splits = load_splits(options)
    for name, rows in splits.items():
        captions = sum(len(row) for row in rows["captions"])
        show(f"{name:6}{len(set(rows['person_id'])):8} people {len(rows):8} images {captions:8} captions")


def shard_corpus(options: argparse.Namespace) -> None:
    """`tbps data shard`"""
    from tbps.data.corpora.writer import write_corpus

    index = write_corpus(
        options.format,
        options.sources,
        options.out,
        options.images or options.sources[0].parent,
        entries_per_shard=options.entries_per_shard,
        skip_bad=options.skip_bad,
        workers=options.workers,
    )
    skipped = sum(len(shard.skipped) for shard in index.shards)
    left_out = f", {counted(skipped)} left out (named in corpus.json)" if skipped else ""
    show(f"{index.rows} images in {len(index.shards)} shards in {options.out}{left_out}")


def counted(faults: int) -> str:
    """How many faults, in words."""
    return "1 fault" if faults == 1 else f"{faults} faults"


def verify_corpus(options: argparse.Namespace) -> None:
    """`tbps data verify`"""
    from tbps.data.corpora.index import CorpusError, find_faults, read_index

    found = list(find_faults(options.corpus))
    if found:
        raise CorpusError("\n  ".join([f"{counted(len(found))}:", *found]))
    index = read_index(options.corpus)
    show(f"{index.rows} images in {len(index.shards)} shards in {options.corpus}, all as they were written")


def add_data(commands: Commands) -> None:
    """The commands that make or check data."""
    data = commands.add_parser("data", help="make or check data").add_subparsers(required=True, metavar="COMMAND")
    toy = add_command(data, "toy", "render ToyPEDES, people with captions in the layout of CUHK-PEDES",
                      "tbps data toy data --people 200")  # fmt: skip
    toy.add_argument("out", metavar="OUT", type=path, help="folder to write ToyPEDES/ into")
    toy.add_argument("--people", type=int, default=1000, help="70 %% train, 10 %% val, 20 %% test (default 1000)")
    toy.add_argument("--images-per-person", type=int, default=3, help="(default 3)")
    toy.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default 0)")
    toy.set_defaults(run=make_toy_data)
    check = add_command(data, "check", "load a benchmark, report what is wrong with it or what it holds",
                        "tbps data check ToyPEDES data")  # fmt: skip
    add_benchmark(check)
    check.set_defaults(run=check_data)
    add_shard(data)
    command = add_command(data, "verify", "read all shards of a corpus through and compare their checksums",
                          "tbps data verify shards")  # fmt: skip
    command.add_argument("corpus", metavar="CORPUS", type=path, help="folder that `tbps data shard` made")
    command.set_defaults(run=verify_corpus)


def add_shard(data: Commands) -> None:
    """The command that converts a corpus."""
    command = add_command(data, "shard", "write a pre-training corpus as parquet shards with the images inside",
                          "tbps data shard mals MALS/train.json shards --images MALS/images --workers 4",
                          "Stopped half-way, the same command goes on after the last whole shard.")  # fmt: skip
    command.add_argument("format", metavar="FORMAT", choices=FORMAT_NAMES, help=", ".join(FORMAT_NAMES))
    command.add_argument(
        "sources", metavar="SOURCE", type=path, nargs="+", help="JSON files of the corpus (MALS: or .parquet)"
    )
    command.add_argument("out", metavar="OUT", type=path, help="folder of the shards; made if it is not there")
    command.add_argument("--images", type=path, help="folder the paths start from (default: that of the first SOURCE)")
    command.add_argument("--entries-per-shard", type=positive, default=1000, help="(default 1000)")
    command.add_argument("--skip-bad", action="store_true", help="leave out what cannot be read, and say what it was")
    command.add_argument("--workers", type=positive, default=2, help="threads that read images (default 2)")
    rename_option(command, "--rows-per-shard", "--entries-per-shard")
    command.set_defaults(run=shard_corpus)
