"""The columns of a split that training and evaluation read, checked: captions and person ids of each row.

Splits of a loaded benchmark: choose one, or hold one out by identity.
"""

import hashlib
import re
from typing import Any

import datasets
import numpy as np
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


COLUMNS = ("image", "captions", "person_id")
_SPELT_LIST = re.compile(r"""\s*\[\s*(?:["'].*["']\s*,?\s*)?\]\s*""", re.DOTALL)


def captions_of(rows: datasets.Dataset) -> list[list[str]]:
    """The captions of each row; a row that holds one string has one caption.

    Raises:
        ValueError: there is no such column; a caption is blank or no text, its row is named; there is none at all.
    """
    check_columns(rows)
    found = [parse_captions(value, f"row {number}") for number, value in enumerate(rows["captions"][:])]
    if found and not any(found):  # of no rows at all callers say what they miss
        raise ValueError(f"None of the {len(found)} rows has a caption: expected sentences to learn from or to ask.")
    return found


def parse_captions(value: Any, where: str) -> list[str]:
    """What a cell of captions holds: a list of texts, or one text, which would else be read letter by letter.

    Raises:
        ValueError: a caption is blank or no text, or one text spells a list; `where` says whose it is.
    """
    captions = [value] if isinstance(value, str) else value
    if not isinstance(captions, list | tuple):
        raise ValueError(f"The captions of {where} are {value!r:.80}: expected a list of texts.")
    for number, caption in enumerate(captions):
        if not isinstance(caption, str) or not caption.strip():
            raise ValueError(
                f"Caption {number} of {where} is {caption!r:.80}: expected words that describe a person. Leave it out."
            )
        if _SPELT_LIST.fullmatch(caption):
            raise ValueError(
                f"Caption {number} of {where} is a text that spells a list, {caption!r:.80}, as tables of text hold "
                "lists: make lists of them, by ast.literal_eval or json.loads."
            )
    return list(captions)


def person_ids_of(rows: datasets.Dataset) -> np.ndarray:
    """The person id of each row, (rows,) int64.

    Raises:
        ValueError: there is no such column; an id is no whole number, or none of 64 bits. The row is named.
    """
    check_columns(rows)
    ids = rows["person_id"][:]
    limits = np.iinfo(np.int64)
    for row, value in enumerate(ids):
        if not isinstance(value, int) or isinstance(value, bool) or not limits.min <= value <= limits.max:
            raise ValueError(
                f"person_id of row {row} is {value!r:.80}: expected whole numbers of 64 bits, below 2**63; number "
                "the people."
            )
    return np.asarray(ids, dtype=np.int64)


def check_columns(rows: datasets.Dataset) -> None:
    """Refuse rows of something else.

    Raises:
        ValueError: names the columns that are missing, and those there are.
    """
    missing = [name for name in COLUMNS if name not in rows.column_names]
    if missing:
        raise ValueError(
            f"The rows have no column {', '.join(missing)}, they have {', '.join(rows.column_names) or 'none'}: "
            f"expected {', '.join(COLUMNS)}; rename them by rows.rename_column."
        )
