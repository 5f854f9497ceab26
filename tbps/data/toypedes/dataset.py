"""Generate ToyPEDES on disk, in the layout of CUHK-PEDES and with its ground truth beside it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from tbps.data.paths import local_path
from tbps.data.toypedes.attributes import Person
from tbps.data.toypedes.camera import SITES
from tbps.data.toypedes.ground_truth import FILE, FORMAT, ceiling
from tbps.data.toypedes.people import IMAGES, MASKS, ImageRecord, write_person
from tbps.data.toypedes.regions import Region
from tbps.files_tbps import printable


@dataclass(frozen=True)
class SplitCounts:
    """The size of one split."""

    people: int
    images: int
    captions: int


@dataclass(frozen=True)
class ToySummary:
    """The result of `generate`. `ceiling` and `chance` are text-to-image R@1 on the test split, in [0, 1]."""

    root: Path  # the ToyPEDES folder
    splits: dict[str, SplitCounts]  # "train", "val", "test"
    ceiling: float  # of a reader who knows every attribute of every person
    chance: float  # of a random guess among all test images

    def describe(self) -> str:
        """Summarise the data set in a few lines of text."""
        lines = [f"ToyPEDES in {printable(str(self.root))}"]
        for name, split in self.splits.items():
            lines.append(f"  {name:5} {split.people:6} people {split.images:6} images {split.captions:6} captions")
        lines.append(
            f"R@1 on test: chance {self.chance:.2%}, and {self.ceiling:.1%} for a reader who knows every attribute"
            " (captions leave details out)"
        )
        return "\n".join(lines)


NAME = "ToyPEDES"
FEWEST_PEOPLE = 10  # leaves one person for val
ENOUGH_FOR_PROCESSES = 60  # people; below, starting processes takes longer than drawing


def generate(
    out: Path | str,
    *,
    people: int = 1000,
    images_per_person: int = 3,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> ToySummary:
    """Write rendered people with captions to `out`/ToyPEDES, for a first run and for measuring methods.

    The same people, images_per_person and seed give the same bytes for any number of workers. 70 % of the people are
    in train, 10 % in val and 20 % in test; ids start at 1. Everything goes to a hidden folder first, which is renamed
    at the end, so an interrupted run never leaves a folder that looks complete.

    Args:
        out: The data root, created if missing.
        people: Number of identities, at least 10.
        images_per_person: Images of each person, at least 1. The first four come from different cameras.
        seed: A non-negative integer.
        workers: Number of processes. None uses one per processor, or a single one for a small set.
        progress: Show a progress bar on standard error.

    Raises:
        ValueError: A number is out of range.
        FileExistsError: `out`/ToyPEDES exists and is not empty.
    """
    _check(people, images_per_person, seed, workers)
    root = local_path(out) / NAME
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"{root} exists and is not empty. Choose another folder, or delete this one first.")
    root.parent.mkdir(parents=True, exist_ok=True)
    partial_root = root.parent / f".{NAME}.partial-{secrets.token_hex(8)}"
    try:
        _make_folders(partial_root)
        drawn = _draw(partial_root, people, images_per_person, seed, workers, progress)
        splits = split_ids(people)
        _write_json(partial_root, seed, images_per_person, splits, drawn)
        if root.exists():
            root.rmdir()
        partial_root.rename(root)
    finally:
        shutil.rmtree(partial_root, ignore_errors=True)  # already renamed on success
    return _summary(root, splits, drawn, images_per_person)


def split_ids(people: int) -> dict[str, range]:
    """Assign person ids, counted from 1, to the splits: 70 % train, then 10 % val, then 20 % test."""
    val, test = people // 10, people // 5
    train = people - val - test
    return {
        "train": range(1, train + 1),
        "val": range(train + 1, train + val + 1),
        "test": range(train + val + 1, people + 1),
    }


def _check(people: int, images_per_person: int, seed: int, workers: int | None) -> None:
    lowest = {"people": (people, FEWEST_PEOPLE), "images_per_person": (images_per_person, 1), "seed": (seed, 0)}
    if workers is not None:
        lowest["workers"] = (workers, 1)
    for name, (value, least) in lowest.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}.")


def _make_folders(root: Path) -> None:
    for kind in (IMAGES, MASKS):
        for camera in SITES:
            (root / kind / camera).mkdir(parents=True)


Drawn = dict[int, tuple[Person, list[ImageRecord]]]


def _draw(root: Path, people: int, images: int, seed: int, workers: int | None, progress: bool) -> Drawn:
    """Draw every person in `workers` processes, in the order of their ids."""
    if workers is None:
        workers = 1 if people < ENOUGH_FOR_PROCESSES else os.cpu_count() or 1
    ids = range(1, people + 1)
    bar = partial(tqdm, total=people, desc=NAME, unit="person", disable=not progress)
    return dict(zip(ids, bar(_results(root, ids, images, seed, workers)), strict=True))


def _results(
    root: Path, ids: Sequence[int], images: int, seed: int, workers: int
) -> Iterator[tuple[Person, list[ImageRecord]]]:
    if workers == 1:
        for person in ids:
            yield write_person(root, seed, person, images)
        return
    with ProcessPoolExecutor(workers) as pool:
        n = len(ids)
        yield from pool.map(write_person, [root] * n, [seed] * n, ids, [images] * n, chunksize=8)


def _write_json(root: Path, seed: int, images: int, splits: dict[str, range], drawn: Drawn) -> None:
    raw = [record.raw(split) for split, ids in splits.items() for person in ids for record in drawn[person][1]]
    truth = {
        "format": FORMAT,
        "seed": seed,
        "images_per_person": images,
        "regions": {region.name.lower(): int(region) for region in Region},
        "people": {str(person): asdict(attributes) for person, (attributes, _) in drawn.items()},
        "images": {record.file_path: record.truth() for _, records in drawn.values() for record in records},
    }
    (root / "reid_raw.json").write_text(json.dumps(raw), encoding="utf-8")
    (root / FILE).write_text(json.dumps(truth), encoding="utf-8")


def _summary(root: Path, splits: dict[str, range], drawn: Drawn, images: int) -> ToySummary:
    captions = [(c.stated, person) for person in splits["test"] for r in drawn[person][1] for c in r.captions]
    best = ceiling(
        [stated for stated, _ in captions],
        [person for _, person in captions],
        {person: asdict(drawn[person][0]) for person in splits["test"]},
        dict.fromkeys(splits["test"], images),
    )
    counts = {
        name: SplitCounts(len(ids), len(ids) * images, sum(len(r.captions) for p in ids for r in drawn[p][1]))
        for name, ids in splits.items()
    }
    return ToySummary(root, counts, ceiling=best, chance=1 / len(splits["test"]))
