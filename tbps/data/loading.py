"""One loader for every benchmark in `tbps.data.benchmarks`: annotation file and images to a `DatasetDict`."""

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset, DatasetDict, Features, Image, List, Value

from tbps.data.benchmarks import Benchmark, BenchmarkError, MissingDataError, find_annotation, find_benchmark

logger = logging.getLogger(__name__)

FEATURES = Features(
    {"image": Image(), "captions": List(Value("string")), "person_id": Value("int64"), "file_path": Value("string")}
)
SHOWN = 10  # how many of the files or entries at fault a report lists


class AnnotatedImage(NamedTuple):
    """One entry of an annotation file."""

    entry: int  # its place in the file, from 0
    split: str
    file_path: str
    captions: list[str]
    person_id: int


def load_benchmark(
    name: str, root: str | Path, *, skip_missing: bool = False, skip_empty_captions: bool = False
) -> DatasetDict:
    """Load a benchmark as its users have it on disk; nothing is downloaded or copied.

    Args:
        name: a key of `BENCHMARKS`, in upper or lower case.
        root: the folder that holds the benchmark's folder, or that folder itself.
        skip_missing: leave out images that are not there, with a warning, where otherwise they are an error.
        skip_empty_captions: leave out empty captions and images without any, with a warning, likewise.

    Returns:
        The benchmark's splits (`train`, `val`, `test`), one row an image in the file's order: `image`, decoded when
        it is read; `captions`, a list of strings; `person_id` and `file_path` as in the annotation.

    Raises:
        MissingDataError: the root, the annotation or images are missing.
        BenchmarkError: the name is unknown, the annotation is malformed, or captions are empty.
    """
    benchmark = find_benchmark(name)
    annotation = find_annotation(benchmark, root)
    folder = annotation.parent / benchmark.images
    rows = read_annotation(annotation, benchmark)
    rows = _keep_with_image(rows, folder, skip_missing)
    rows = _keep_with_captions(rows, annotation, skip_empty_captions)
    if not rows:
        raise BenchmarkError(f"{annotation} leaves no image with a caption: expected at least one entry.")
    by_split = {split: [row for row in rows if row.split == split] for split in benchmark.splits}
    return DatasetDict({split: _dataset(chosen, folder) for split, chosen in by_split.items() if chosen})


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


def read_annotation(annotation: Path, benchmark: Benchmark) -> list[AnnotatedImage]:
    """The entries of an annotation file, each checked.

    Raises:
        BenchmarkError: the file is not a JSON list of the benchmark's entries; the first entry at fault is named.
    """
    try:
        entries = json.loads(annotation.read_text(encoding="utf-8-sig"))
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
    if entry["split"] not in benchmark.splits:
        raise BenchmarkError(
            f"{where} is of split {entry['split']!r}: expected one of {', '.join(benchmark.splits)}. Correct the file."
        )
    return AnnotatedImage(number, entry["split"], entry[benchmark.path_key], entry["captions"], entry["id"])


def _keep_with_image(rows: list[AnnotatedImage], folder: Path, skip: bool) -> list[AnnotatedImage]:
    present = [os.path.isfile(os.path.join(folder, row.file_path)) for row in rows]
    missing = [row.file_path for row, there in zip(rows, present, strict=True) if not there]
    if not missing:
        return rows
    total = Counter(_sub_folder(row.file_path) for row in rows)
    lost = Counter(_sub_folder(path) for path in missing)
    where = f"{folder}" if folder.is_dir() else f"{folder}, a folder that does not exist"
    report = f"{len(missing)} of {len(rows)} images are missing below {where}\n"
    report += _listing("by sub-folder", (f"{name}: {lost[name]} of {total[name]}" for name in sorted(lost)))
    report += _listing(f"the first {min(SHOWN, len(missing))}", missing[:SHOWN])
    if not skip:
        raise MissingDataError(f"{report}Unpack all images there, or go on without these by skip_missing=True.")
    logger.warning("%sThey are left out.", report)
    return [row for row, there in zip(rows, present, strict=True) if there]


def _keep_with_captions(rows: list[AnnotatedImage], annotation: Path, skip: bool) -> list[AnnotatedImage]:
    faults = [f"{row.file_path} (entry {row.entry}): {fault}" for row in rows for fault in _caption_faults(row)]
    if not faults:
        return rows
    report = f"{len(faults)} captions are empty or missing in {annotation}\n"
    report += _listing(f"the first {min(SHOWN, len(faults))}, entries from 0", faults[:SHOWN])
    if not skip:
        raise BenchmarkError(f"{report}Correct the file, or leave them out by skip_empty_captions=True.")
    logger.warning("%sThey are left out, and so are images left without a caption.", report)
    cleaned = (row._replace(captions=[caption for caption in row.captions if caption.strip()]) for row in rows)
    return [row for row in cleaned if row.captions]


def _caption_faults(row: AnnotatedImage) -> list[str]:
    if not row.captions:
        return ["no caption"]
    return [f"caption {i} is {caption!r}" for i, caption in enumerate(row.captions) if not caption.strip()]


def _sub_folder(file_path: str) -> str:
    return file_path.split("/")[0] if "/" in file_path else "."


def _listing(title: str, lines: Iterable[str]) -> str:
    return f"{title}:\n" + "".join(f"  {line}\n" for line in lines)


def _dataset(rows: list[AnnotatedImage], folder: Path) -> Dataset:
    columns = {
        "image": [os.path.join(folder, row.file_path) for row in rows],
        "captions": [row.captions for row in rows],
        "person_id": [row.person_id for row in rows],
        "file_path": [row.file_path for row in rows],
    }
    return Dataset.from_dict(columns, features=FEATURES)
