"""Splits of a data set: select one, hold out identities, and read the captions and person ids of the rows."""

import hashlib
import re
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict

from tbps.data.benchmarks import BenchmarkError, find_benchmark

COLUMNS = ("image", "captions", "person_id")
_SPELT_LIST = re.compile(r"""\s*\[\s*(?:["'].*["']\s*,?\s*)?\]\s*""", re.DOTALL)


def select_split(splits: DatasetDict, benchmark_name: str, split: str) -> Dataset:
    """Select one split of a loaded benchmark.

    Raises:
        BenchmarkError: The benchmark has no such split. The message lists its splits.
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
    raise BenchmarkError(f"{benchmark.name} has no split {split!r}, its splits are: {', '.join(splits)}. {advice}")


def hold_out_identities(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split a data set by identity, so that no person is in both halves.

    The choice depends only on the person ids and the seed: every version and machine holds out the same people.

    Args:
        dataset: A data set with a column `person_id`.
        share: The fraction of identities to hold out, between 0 and 1. Each half gets at least one identity.
        seed: Another seed holds out other identities.

    Returns:
        The rows to train on, and the rows that are held out.

    Raises:
        ValueError: The share is not between 0 and 1, or there are fewer than two identities.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must be a fraction of the identities between 0 and 1, got {share}. Try 0.1.")
    person_ids = dataset["person_id"][:]
    identities = sorted(set(person_ids), key=lambda person: hashlib.sha256(f"{seed}:{person}".encode()).digest())
    if len(identities) < 2:
        raise ValueError(f"{len(identities)} identities cannot be split: expected at least two.")
    count = min(max(1, round(share * len(identities))), len(identities) - 1)
    held_out = set(identities[:count])
    train_rows = [i for i, person in enumerate(person_ids) if person not in held_out]
    held_out_rows = [i for i, person in enumerate(person_ids) if person in held_out]
    return dataset.select(train_rows), dataset.select(held_out_rows)


def captions_of(rows: Dataset) -> list[list[str]]:
    """Read the captions of each row. A row that holds a single string has one caption.

    Raises:
        ValueError: The column is missing, a caption is blank or not text (the message names its row), or no row has a
            caption.
    """
    check_columns(rows)
    found = [parse_captions(value, f"row {number}") for number, value in enumerate(rows["captions"][:])]
    if found and not any(found):  # callers report a data set without rows
        raise ValueError(f"None of the {len(found)} rows has a caption: expected captions to train or evaluate on.")
    return found


def parse_captions(value: Any, where: str) -> list[str]:
    """Read a cell of the captions column: a list of texts, or a single text.

    Raises:
        ValueError: A caption is blank or not text, or a text spells a list. The message starts with `where`.
    """
    captions = [value] if isinstance(value, str) else value
    if not isinstance(captions, list | tuple):
        raise ValueError(f"The captions of {where} are {value!r:.80}: expected a list of texts.")
    for number, caption in enumerate(captions):
        if not isinstance(caption, str) or not caption.strip():
            raise ValueError(
                f"Caption {number} of {where} is {caption!r:.80}: expected words that describe a person. Remove it."
            )
        if _SPELT_LIST.fullmatch(caption):
            raise ValueError(
                f"Caption {number} of {where} is a text that spells a list, {caption!r:.80}, as CSV files store lists. "
                "Parse it into a list with ast.literal_eval or json.loads."
            )
    return list(captions)


def person_ids_of(rows: Dataset) -> np.ndarray:
    """Read the person id of each row: (rows,) int64.

    Raises:
        ValueError: The column is missing, or an id is not a 64-bit integer. The message names the row.
    """
    check_columns(rows)
    ids = rows["person_id"][:]
    limits = np.iinfo(np.int64)
    for row, value in enumerate(ids):
        if not isinstance(value, int) or isinstance(value, bool) or not limits.min <= value <= limits.max:
            raise ValueError(
                f"person_id of row {row} is {value!r:.80}: expected a 64-bit integer, below 2**63. Number the people."
            )
    return np.asarray(ids, dtype=np.int64)


def check_columns(rows: Dataset) -> None:
    """Check that the rows have the columns of a benchmark split.

    Raises:
        ValueError: A column is missing. The message lists the columns.
    """
    missing = [name for name in COLUMNS if name not in rows.column_names]
    if missing:
        raise ValueError(
            f"The rows have no column {', '.join(missing)}, only {', '.join(rows.column_names) or 'none'}. "
            f"Expected {', '.join(COLUMNS)}: rename columns with rows.rename_column."
        )
