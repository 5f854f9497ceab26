"""`tbps data`: render ToyPEDES, check a benchmark, convert a pre-training corpus to shards."""

import argparse

from tbps.cli.options import add_benchmark, load_splits
from tbps.cli.parser import Commands, add_command, add_group, path, positive, rename_option
from tbps.cli.terminal import show
from tbps.data.corpora import FORMAT_NAMES


def make_toy_data(options: argparse.Namespace) -> None:
    """Run `tbps data toy`."""
    from tbps.data.toypedes import generate

    summary = generate(
        options.out, people=options.people, images_per_person=options.images_per_person, seed=options.seed
    )
    for line in summary.describe().splitlines():
        show(line)


def check_data(options: argparse.Namespace) -> None:
    """Run `tbps data check`."""
    splits = load_splits(options)
    for name, rows in splits.items():
        captions = sum(len(row) for row in rows["captions"])
        show(f"{name:6}{len(set(rows['person_id'])):8} people {len(rows):8} images {captions:8} captions")


def shard_corpus(options: argparse.Namespace) -> None:
    """Run `tbps data shard`."""
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
    remark = f", {skipped} bad {_entries(skipped)} skipped (listed in corpus.json)" if skipped else ""
    show(f"{index.rows} images in {len(index.shards)} shards in {options.out}{remark}")


def verify_corpus(options: argparse.Namespace) -> None:
    """Run `tbps data verify`."""
    from tbps.data.corpora.index import CorpusError, find_faults, read_index

    found = list(find_faults(options.corpus))
    if found:
        raise CorpusError("\n  ".join([f"{len(found)} {'fault' if len(found) == 1 else 'faults'}:", *found]))
    index = read_index(options.corpus)
    show(f"{index.rows} images in {len(index.shards)} shards in {options.corpus}, all checksums match")


def _entries(count: int) -> str:
    return "entry" if count == 1 else "entries"


def add_data(commands: Commands) -> None:
    """Add the commands of `tbps data`."""
    data = add_group(commands, "data", "make, check or convert data")
    _add_toy(data)
    command = add_command(data, "check", "load a benchmark and report its size or what is wrong with it",
                          "tbps data check ToyPEDES data")  # fmt: skip
    add_benchmark(command)
    command.set_defaults(run=check_data)
    _add_shard(data)
    command = add_command(data, "verify", "read all shards of a corpus and compare their checksums",
                          "tbps data verify shards")  # fmt: skip
    command.add_argument("corpus", metavar="CORPUS", type=path, help="output folder of `tbps data shard`")
    command.set_defaults(run=verify_corpus)


def _add_toy(data: Commands) -> None:
    command = add_command(data, "toy", "render ToyPEDES: drawn people with captions, in the layout of CUHK-PEDES",
                          "tbps data toy data --people 200")  # fmt: skip
    command.add_argument("out", metavar="OUT", type=path, help="parent of the new folder ToyPEDES")
    command.add_argument("--people", type=int, default=1000, metavar="N",
                         help="70 %% train, 10 %% val, 20 %% test (default: %(default)s)")  # fmt: skip
    command.add_argument("--images-per-person", type=int, default=3, metavar="N", help="(default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, metavar="N",
                         help="the same seed gives the same files (default: %(default)s)")  # fmt: skip
    command.set_defaults(run=make_toy_data)


def _add_shard(data: Commands) -> None:
    command = add_command(data, "shard", "convert a pre-training corpus to Parquet shards that contain the images",
                          "tbps data shard mals MALS/train.json shards --images MALS/images --workers 4",
                          "If it is interrupted, the same command continues after the last complete shard.",
                          )  # fmt: skip
    command.add_argument("format", metavar="FORMAT", choices=FORMAT_NAMES, help=", ".join(FORMAT_NAMES))
    command.add_argument("sources", metavar="SOURCE", type=path, nargs="+",
                         help="JSON files of the corpus; for mals also Parquet files")  # fmt: skip
    command.add_argument("out", metavar="OUT", type=path, help="folder of the shards; created if missing")
    command.add_argument("--images", type=path, metavar="FOLDER",
                         help="folder that image paths start from (default: the folder of the first SOURCE)",
                         )  # fmt: skip
    command.add_argument("--entries-per-shard", type=positive, default=1000, metavar="N",
                         help="(default: %(default)s)")  # fmt: skip
    command.add_argument("--skip-bad", action="store_true", help="skip entries that cannot be read, and list them")
    command.add_argument("--workers", type=positive, default=2, metavar="N",
                         help="threads that read images (default: %(default)s)")  # fmt: skip
    rename_option(command, "--rows-per-shard", "--entries-per-shard")
    command.set_defaults(run=shard_corpus)
