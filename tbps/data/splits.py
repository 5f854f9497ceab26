"""Splits of a loaded benchmark: choose one, or hold one out by identity."""

import hashlib

from datasets import Dataset, DatasetDict

from tbps.data.benchmarks import BenchmarkError, find_benchmark


def select_split(splits: DatasetDict, benchmark_name: str, split: str) -> Dataset:
    """One split of a loaded benchmark.

    Raises:
        BenchmarkError: it has no such split; the message names those it has.
    """
    if split in splits:
        return splits[split]
    benchmark = find_benchmark(benchmark_name)
    advice = "Choose one of these."
    if split in ("val", "validation") and "val" not in benchmark.splits:
        advice = (
            f"{benchmark.name} has no validation split: hold one out of train by identity, "
            "hold_out_identities(splits['train'], share=0.1, seed=0)."
        )
    raise BenchmarkError(
        f"{benchmark.name} has no split {split!r}, the splits there are: {', '.join(splits)}. {advice}"
    )


def hold_out_identities(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split by identity: (what is left to train on, what is held out), no person in both.

    Which persons are held out depends on their ids and the seed alone: every version and machine holds out the same.

    Args:
        dataset: with a column `person_id`.
        share: of the identities to hold out, between 0 and 1; at least one identity falls on either side.
        seed: another seed holds out other identities.

    Raises:
        ValueError: the share is not between 0 and 1, or there are fewer than two identities.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}: expected a share of the identities between 0 and 1, for example 0.1.")
    person_ids = dataset["person_id"][:]
    identities = sorted(set(person_ids), key=lambda person: hashlib.sha256(f"{seed}:{person}".encode()).digest())
    if len(identities) < 2:
        raise ValueError(f"{len(identities)} identities cannot be split: expected at least two.")
    count = min(max(1, round(share * len(identities))), len(identities) - 1)
    held_out = set(identities[:count])
    kept = [i for i, person in enumerate(person_ids) if person not in held_out]
    taken = [i for i, person in enumerate(person_ids) if person in held_out]
    return dataset.select(kept), dataset.select(taken)
