"""Annotation files of the benchmarks: each entry read and checked."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from tbps.data.benchmarks import Benchmark, BenchmarkError
from tbps.regular_file_tbps import MOST_TEXT, read_regular


class AnnotatedImage(NamedTuple):
    """One entry of an annotation file."""

    entry: int  # its place in the file, from 0
    split: str
    file_path: str
    captions: list[str]
    person_id: int


def read_annotation(annotation: Path, benchmark: Benchmark) -> list[AnnotatedImage]:
    """The entries of an annotation file, each checked.

    Raises:
        BenchmarkError: the file is not a JSON list of the benchmark's entries; the first entry at fault is named.
    """
    try:
        entries = json.loads(read_regular(annotation, MOST_TEXT).decode("utf-8-sig"))
    except ValueError as error:  # of JSON or of UTF-8
        raise BenchmarkError(
            f"{annotation} ({annotation.stat().st_size} bytes) is not JSON: {error}. "
            "It may be truncated: copy or unpack it again."
        ) from error
    if not isinstance(entries, list):
        raise BenchmarkError(f"{annotation} holds a JSON {type(entries).__name__}: expected a list of entries.")
    return [_parse(entry, number, annotation, benchmark) for number, entry in enumerate(entries)]


def _parse(entry: Any, number: int, annotation: Path, benchmark: Benchmark) -> AnnotatedImage:
    where = f"{annotation}, entry {number} (from 0)"
    kinds = {"split": str, benchmark.path_key: str, "captions": list, "id": int}
    if not isinstance(entry, dict):
        raise BenchmarkError(f"{where} is {entry!r:.80}: expected an object with the keys {', '.join(kinds)}.")
    for key, kind in kinds.items():
        if key not in entry:
            raise BenchmarkError(
                f"{where} lacks the key {key!r}, it has: {', '.join(entry)}. An entry of {benchmark.name} has the keys "
                f"{', '.join(kinds)}: is this the annotation of another benchmark?"
            )
        if not isinstance(entry[key], kind) or isinstance(entry[key], bool):
            raise BenchmarkError(f"{where}: {key!r} is {entry[key]!r:.80}, expected {kind.__name__}. Correct the file.")
    if not all(isinstance(caption, str) for caption in entry["captions"]):
        raise BenchmarkError(f"{where}: 'captions' is {entry['captions']!r:.80}, expected strings. Correct the file.")
    if not -(2**63) <= entry["id"] < 2**63:
        raise BenchmarkError(
            f"{where}: 'id' is {entry['id']}: expected a number of 64 bits, below 2**63. Correct the file."
        )
    if entry["split"] not in benchmark.splits:
        raise BenchmarkError(
            f"{where} is of split {entry['split']!r}: expected one of {', '.join(benchmark.splits)}. Correct the file."
        )
    return AnnotatedImage(number, entry["split"], entry[benchmark.path_key], entry["captions"], entry["id"])
