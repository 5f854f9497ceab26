"""Rendered data sets of the study: one for the starting checkpoint, one for every seed, no person in two of them."""

import re
from pathlib import Path

import datasets
from filelock import FileLock

from tbps.data.loading import load_benchmark
from tbps.toypedes import generate

START_SEED = 100  # the world of the starting checkpoint: other people than in the worlds of the seeds 0, 1, ...
CLAUSE = re.compile(r"[.,]| and | wearing | carrying ")


def world(out: Path, seed: int, people: int) -> Path:
    """The data root of a seed, rendered where it is missing; several processes may ask at once."""
    root = out / f"world-{seed}-{people}"
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{root}.lock"):
        if not (root / "ToyPEDES").exists():
            generate(root, people=people, seed=seed, workers=1, progress=False)
    return root


def splits(root: Path) -> datasets.DatasetDict:
    """train, val and test of a data root."""
    return load_benchmark("ToyPEDES", root)


def with_clauses(rows: datasets.Dataset) -> datasets.Dataset:
    """Each caption once whole and once clause by clause ("black trousers"): short texts, as pairs from the web are,
    from which the starting checkpoint learns the words before it meets whole descriptions."""

    def add(row: dict[str, list[str]]) -> dict[str, list[str]]:
        clauses = [part.strip() for caption in row["captions"] for part in CLAUSE.split(caption)]
        return {"captions": row["captions"] + [clause for clause in clauses if " " in clause]}

    return rows.map(add, remove_columns=[], load_from_cache_file=False)
