"""The whole set on disk, in the layout of CUHK-PEDES, with its ground truth beside it.

What was generated, in numbers.
"""

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
from tbps.data.toypedes.ground_truth import FILE, FORMAT
from tbps.data.toypedes.people import IMAGES, MASKS, PictureRecord, write_person
from tbps.data.toypedes.reader import ceiling
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
    """What `generate` wrote. `ceiling` and `chance` are R@1 in [0, 1] on the test split, text to image."""

    root: Path  # the ToyPEDES folder
    splits: dict[str, SplitCounts]  # "train", "val", "test"
    ceiling: float  # of a reader who knows every attribute of everybody
    chance: float  # of a guess among all test images

    def describe(self) -> str:
        """A few lines for a person to read."""
        lines = [f"ToyPEDES in {printable(str(self.root))}"]
        for name, split in self.splits.items():
            lines.append(f"  {name:5} {split.people:6} people {split.images:6} images {split.captions:6} captions")
        lines.append(
            f"R@1 on test: chance {self.chance:.2%}, and {self.ceiling:.1%} for a reader who knows every attribute"
            " (captions leave details out)"
        )
        return "\n".join(lines)


NAME = "ToyPEDES"
FEWEST_PEOPLE = 10  # one of them in val
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
    """Write the set to `out`/ToyPEDES: rendered people with captions, for a first run and for measuring methods.

    The same people, images_per_person and seed give the same bytes, whatever the number of workers. 70 % of the people
    are in train, 10 % in val and 20 % in test; ids start at 1. Everything is written to a hidden folder beside the
    final one, which is renamed at the end: an interrupted run leaves no folder that looks whole.

    Args:
        out: the data root; made where it is missing.
        people: number of identities, at least 10.
        images_per_person: images of each, at least 1; from different cameras up to four.
        seed: a non-negative integer.
        workers: processes that draw; None for one a processor, or one alone for a small set.
        progress: show a progress bar on standard error.

    Raises:
        ValueError: for a number out of range.
        FileExistsError: where `out`/ToyPEDES is there already and not empty.
    """
    _check(people, images_per_person, seed, workers)
    root = local_path(out) / NAME
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"{root} exists and is not empty; choose another folder, or delete this one first")
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
        shutil.rmtree(partial_root, ignore_errors=True)  # gone already when all went well
    return _summary(root, splits, drawn, images_per_person)


def split_ids(people: int) -> dict[str, range]:
    """The person ids of each split: 70 % train, 10 % val, 20 % test, in this order from 1 on."""
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
            raise ValueError(f"{name} is {value}; expected at least {least}: pass {name}={least} or more")


def _make_folders(root: Path) -> None:
    for kind in (IMAGES, MASKS):
        for camera in SITES:
            (root / kind / camera).mkdir(parents=True)


Drawn = dict[int, tuple[Person, list[PictureRecord]]]


def _draw(root: Path, people: int, images: int, seed: int, workers: int | None, progress: bool) -> Drawn:
    """Draw everybody, in as many processes as are wanted; the result is in the order of the ids."""
    if workers is None:
        workers = 1 if people < ENOUGH_FOR_PROCESSES else os.cpu_count() or 1
    ids = range(1, people + 1)
    bar = partial(tqdm, total=people, desc=NAME, unit="person", disable=not progress)
    return dict(zip(ids, bar(_results(root, ids, images, seed, workers)), strict=True))


def _results(
    root: Path, ids: Sequence[int], images: int, seed: int, workers: int
) -> Iterator[tuple[Person, list[PictureRecord]]]:
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
