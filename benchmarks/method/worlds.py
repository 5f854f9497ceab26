"""The rendered data sets ("worlds"): one for the starting checkpoint, one per seed, with no person in common."""

import re
from pathlib import Path

import datasets
import numpy as np
from filelock import FileLock

from tbps.data.loading import load_benchmark
from tbps.data.toypedes import generate

START_SEED = 100  # of the starting checkpoint: other people than those of the seeds 0, 1, ...
CLAUSE = re.compile(r"[.,]| and | wearing | carrying ")


def world(out: Path, seed: int, people: int) -> Path:
    """Return the data root of a seed; render it if it is missing. Several processes may call this at once."""
    root = out / f"world-{seed}-{people}"
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        if not (root / "ToyPEDES").exists():
            generate(root, people=people, seed=seed, workers=1, progress=False)
    return root


def splits(root: Path) -> datasets.DatasetDict:
    """Load train, val and test of a data root."""
    return load_benchmark("ToyPEDES", root)


def first_people(rows: datasets.Dataset, count: int) -> datasets.Dataset:
    """Return the rows of the first `count` people. R@1 is comparable between galleries of equally many people."""
    people = np.asarray(rows["person_id"][:])
    return rows.select(np.flatnonzero(np.isin(people, np.unique(people)[:count])))


def with_clauses(rows: datasets.Dataset) -> datasets.Dataset:
    """Add the clauses of each caption ("black trousers") as captions. From such short texts, which are like pairs from
    the web, the starting checkpoint learns words before it sees full descriptions."""

    def add(row: dict[str, list[str]]) -> dict[str, list[str]]:
        clauses = [part.strip() for caption in row["captions"] for part in CLAUSE.split(caption)]
        return {"captions": row["captions"] + [clause for clause in clauses if " " in clause]}

    return rows.map(add, remove_columns=[], load_from_cache_file=False)


def with_noise(rows: datasets.Dataset, share: float, seed: int) -> tuple[datasets.Dataset, np.ndarray]:
    """Permute a fraction of the captions so that each of them lands at another person's image.

    Returns:
        The rows, and (pairs,) bool which pairs are noisy; pairs are in the order of `PersonPairs`.

    Raises:
        ValueError: one person has more than half of these captions, so that no such permutation exists.
    """
    captions = [caption for row in rows["captions"] for caption in row]
    row_of = np.repeat(np.arange(len(rows)), [len(row) for row in rows["captions"]])
    people = np.asarray(rows["person_id"][:])[row_of]
    rng = np.random.default_rng(seed)
    moved = rng.choice(len(captions), round(share * len(captions)), replace=False)
    _, person = np.unique(people[moved], return_inverse=True)
    moved = moved[np.argsort(rng.permutation(person.max(initial=-1) + 1)[person], kind="stable")]  # by person, shuffled
    most = int(np.bincount(person).max(initial=0))
    if 2 * most > len(moved):
        raise ValueError(f"{most} of {len(moved)} captions to permute are one person's: expected at most half.")
    noisy = np.array(captions, dtype=object)
    noisy[moved] = noisy[np.roll(moved, most)]  # further than any person's block is long
    mates = [noisy[row_of == row].tolist() for row in range(len(rows))]
    is_noisy = np.zeros(len(captions), dtype=bool)
    is_noisy[moved] = True
    return rows.remove_columns("captions").add_column("captions", mates), is_noisy
