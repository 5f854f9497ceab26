"""The columns of a split that training and evaluation read, checked: captions and person ids of each row."""

import re
from typing import Any

import datasets
import numpy as np

COLUMNS = ("image", "captions", "person_id")
_SPELT_LIST = re.compile(r"""\s*\[\s*(?:["'].*["']\s*,?\s*)?\]\s*""", re.DOTALL)


def captions_of(rows: datasets.Dataset) -> list[list[str]]:
    """The captions of each row; a row that holds one string has one caption.

    Raises:
        ValueError: there is no such column; a caption is blank or no text, its row is named; there is none at all.
    """
    check_columns(rows)
    found = [as_captions(value, f"row {number}") for number, value in enumerate(rows["captions"][:])]
    if found and not any(found):  # of no rows at all callers say what they miss
        raise ValueError(f"None of the {len(found)} rows has a caption: expected sentences to learn from or to ask.")
    return found


def as_captions(value: Any, where: str) -> list[str]:
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


def people_of(rows: datasets.Dataset) -> np.ndarray:
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
