"""`tbps data`: render people, check a benchmark."""

import argparse

from tbps.commands.options import Commands, add_benchmark, add_command, load_splits


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


def add_data(commands: Commands) -> None:
    """The commands that make or check data."""
    data = commands.add_parser("data", help="make or check data").add_subparsers(required=True, metavar="COMMAND")
    toy = add_command(data, "toy", "render ToyPEDES, people with captions in the layout of CUHK-PEDES",
                      "tbps data toy data --people 200")  # fmt: skip
    toy.add_argument("out", metavar="OUT", help="folder to write ToyPEDES/ into")
    toy.add_argument("--people", type=int, default=1000, help="70 %% train, 10 %% val, 20 %% test (default 1000)")
    toy.add_argument("--images-per-person", type=int, default=3, help="(default 3)")
    toy.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default 0)")
    toy.set_defaults(run=make_toy_data)
    check = add_command(data, "check", "load a benchmark, report what is wrong with it or what it holds",
                        "tbps data check ToyPEDES data")  # fmt: skip
    add_benchmark(check)
    check.set_defaults(run=check_data)
