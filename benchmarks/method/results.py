"""Results of a study: one JSON file per finished run while it is under way, one table of all runs afterwards.

The table, `results.csv`, has one row per run and one column per value, which is named after its place in the JSON file:
`test/whole/rank_1`. `pandas.read_csv` reads it. Here it becomes the very dicts that it was made of.
"""

import csv
import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

TABLE = "results.csv"
KEY = ("stage", "name", "run")  # the first columns: runs, cmr_all_views, seed1 for runs/cmr_all_views/seed1.json
Result = dict[str, Any]


class BrokenResultError(ValueError):
    """A result file or table that is incomplete."""


def read_result(file: Path) -> Result:
    """Read the result of a run, from its own file or else from the table.

    Raises:
        BrokenResultError: the file is incomplete.
        FileNotFoundError: the run has not finished.
    """
    if not file.is_file():
        try:
            return condensed(file.parents[2])[file]
        except KeyError:
            raise FileNotFoundError(f"{file} is missing, and {TABLE} does not have that run: make it first.") from None
    try:
        found: Result = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        message = f"{file} is not a complete result ({error}). Delete it and run the study again."
        raise BrokenResultError(message) from error
    return found


def is_finished(file: Path) -> bool:
    """Whether the run of that file has a result."""
    return file.is_file() or file in condensed(file.parents[2])


def finished_in(folder: Path) -> list[Path]:
    """The files of the finished runs of one method or ablation, sorted; some may be rows of the table by now."""
    return sorted({*folder.glob("*.json"), *(file for file in condensed(folder.parents[1]) if file.parent == folder)})


def finished_folders(results: Path, stage: str) -> list[Path]:
    """The folders of a stage ("untuned", "ablations") that have finished runs, sorted."""
    files = {*results.glob(f"{stage}/*/*.json"), *condensed(results)}
    return sorted({file.parent for file in files if file.parents[1] == results / stage})


def condense(results: Path) -> None:
    """Move the results of single files into the table; a file replaces the row of the same run."""
    files = sorted(results.glob("*/*/*.json"))
    if not files:
        return
    found = condensed(results) | {file: read_result(file) for file in files}
    write_table(results / TABLE, found)
    for file in files:
        file.unlink()
        for folder in (file.parent, file.parents[1]):
            if not any(folder.iterdir()):
                folder.rmdir()


def condensed(results: Path) -> dict[Path, Result]:
    """The results in the table, by the files that they had; empty without a table.

    Raises:
        BrokenResultError: the table is incomplete.
    """
    table = results / TABLE
    return read_table(table, table.stat().st_mtime_ns) if table.is_file() else {}


@lru_cache(maxsize=8)
def read_table(table: Path, changed: int) -> dict[Path, Result]:
    """Read a table; `changed`, its time of modification, only tells the cache when to read again."""
    with table.open(encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines, strict=True)
    if tuple(header[: len(KEY)]) != KEY or any(len(row) != len(header) for row in rows):
        raise BrokenResultError(f"{table} is not a complete table: its columns must be {', '.join(KEY)} and values.")
    return {
        table.parent / stage / name / f"{run}.json": nested(zip(header[len(KEY) :], cells, strict=True))
        for stage, name, run, *cells in rows
    }


def write_table(table: Path, found: dict[Path, Result]) -> None:
    """Write a table in one step, a row per run in the order of the files."""
    rows = {file: dict(flat(found[file])) for file in sorted(found)}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    partial = table.with_suffix(f".partial-{os.getpid()}")
    with partial.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow([*KEY, *columns])
        for file, row in rows.items():
            key = file.parents[1].name, file.parent.name, file.stem
            writer.writerow([*key, *(row.get(column, "") for column in columns)])
    partial.rename(table)


def flat(result: Result, parents: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """(column, cell) of every value: JSON, and text without quotes where it cannot be taken for anything else."""
    for name, value in result.items():
        if isinstance(value, dict) and value:
            yield from flat(value, (*parents, name))
        else:
            plain = isinstance(value, str) and value and from_cell(value) == value
            yield "/".join((*parents, name)), value if plain else json.dumps(value)


def nested(cells: Iterator[tuple[str, str]]) -> Result:
    """The result of (column, cell), the inverse of `flat`; an empty cell is a value that the run does not have."""
    found: Result = {}
    for column, cell in cells:
        if cell:
            *parents, name = column.split("/")
            inner = found
            for parent in parents:
                inner = inner.setdefault(parent, {})
            inner[name] = from_cell(cell)
    return found


def from_cell(cell: str) -> Any:
    """The value of a cell: JSON, or else text."""
    try:
        return json.loads(cell)
    except json.JSONDecodeError:
        return cell
