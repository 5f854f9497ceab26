"""Load any benchmark of `tbps.data.benchmarks` from its annotation file and images into a `DatasetDict`."""

import logging
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from datasets import Dataset, DatasetDict, Features, Image, List, Value

from tbps.data.benchmarks import (
    AnnotatedImage,
    BenchmarkError,
    MissingDataError,
    find_annotation,
    find_benchmark,
    read_annotation,
)
from tbps.data.paths import name_as_text, name_on_disk
from tbps.files_tbps import printable

logger = logging.getLogger(__name__)

FEATURES = Features(
    {"image": Image(), "captions": List(Value("string")), "person_id": Value("int64"), "file_path": Value("string")}
)
SHOWN = 10  # files or entries at fault that a report lists


def load_benchmark(
    name: str, root: str | Path, *, skip_missing: bool = False, skip_empty_captions: bool = False
) -> DatasetDict:
    """Load a benchmark from disk; nothing is downloaded or copied.

    Args:
        name: A key of `BENCHMARKS`, in upper or lower case.
        root: The folder that holds the benchmark's folder, or that folder itself.
        skip_missing: Skip missing images with a warning instead of raising an error.
        skip_empty_captions: Skip empty captions, and images without any other, with a warning instead of an error.

    Returns:
        The splits of the benchmark (`train`, `val`, `test`), one row per image in the order of the file: `image`,
        decoded when it is read; `captions`, a list of strings; `person_id` and `file_path` as in the annotation.

    Raises:
        MissingDataError: The root, the annotation or images are missing.
        BenchmarkError: The name is unknown, the annotation is malformed, or captions are empty.
    """
    benchmark = find_benchmark(name)
    annotation = find_annotation(benchmark, root)
    folder = annotation.parent / benchmark.images
    rows = read_annotation(annotation, benchmark)
    rows = _keep_with_image(rows, folder, skip_missing)
    rows = _keep_with_captions(rows, annotation, skip_empty_captions)
    if not rows:
        raise BenchmarkError(f"{annotation} has no image with a caption: expected at least one entry.")
    _warn_of_shared_people(rows)
    by_split = {split: [row for row in rows if row.split == split] for split in benchmark.splits}
    return DatasetDict({split: _dataset(chosen, folder) for split, chosen in by_split.items() if chosen})


def _warn_of_shared_people(rows: list[AnnotatedImage]) -> None:
    """Warn if a person is in two splits: results on one are then biased by training on the other."""
    seen = {(row.person_id, row.split) for row in rows}
    shared = sorted(person for person, splits in Counter(person for person, _ in seen).items() if splits > 1)
    if shared:
        logger.warning("%d people are in more than one split; the first ones are %s.", len(shared), shared[:SHOWN])


def _keep_with_image(rows: list[AnnotatedImage], folder: Path, skip: bool) -> list[AnnotatedImage]:
    present = [_exists(_image_path(folder, row)) for row in rows]
    missing = [row.file_path for row, there in zip(rows, present, strict=True) if not there]
    if not missing:
        return rows
    total = Counter(_sub_folder(row.file_path) for row in rows)
    lost = Counter(_sub_folder(path) for path in missing)
    where = printable(str(folder)) + ("" if folder.is_dir() else ", a folder that does not exist")
    report = f"{len(missing)} of {len(rows)} images are missing below {where}\n"
    report += _listing("by sub-folder", (f"{name}: {lost[name]} of {total[name]}" for name in sorted(lost)))
    report += _listing(f"the first {min(SHOWN, len(missing))}", missing[:SHOWN])
    if not skip:
        raise MissingDataError(
            f"{report}Unpack all images there, or skip these with skip_missing=True (--skip-missing)."
        )
    logger.warning("%sThey are skipped.", report)
    return [row for row, there in zip(rows, present, strict=True) if there]


def _image_path(folder: Path, row: AnnotatedImage) -> str:
    """The path of an image as text."""
    return os.path.join(name_as_text(folder), row.file_path)


def _exists(path: str) -> bool:
    try:
        return os.path.isfile(name_on_disk(path))
    except ValueError:  # a name that no file can have
        return False


def _keep_with_captions(rows: list[AnnotatedImage], annotation: Path, skip: bool) -> list[AnnotatedImage]:
    faults = [f"{row.file_path} (entry {row.entry}): {fault}" for row in rows for fault in _caption_faults(row)]
    if not faults:
        return rows
    report = f"{len(faults)} captions are empty or missing in {printable(str(annotation))}\n"
    report += _listing(f"the first {min(SHOWN, len(faults))}, entries from 0", faults[:SHOWN])
    if not skip:
        raise BenchmarkError(
            f"{report}Correct the file, or skip them with skip_empty_captions=True (--skip-empty-captions)."
        )
    logger.warning("%sThey are skipped, and so are images without any other caption.", report)
    cleaned = (row._replace(captions=[caption for caption in row.captions if caption.strip()]) for row in rows)
    return [row for row in cleaned if row.captions]


def _caption_faults(row: AnnotatedImage) -> list[str]:
    if not row.captions:
        return ["no caption"]
    return [f"caption {i} is {caption!r}" for i, caption in enumerate(row.captions) if not caption.strip()]


def _sub_folder(file_path: str) -> str:
    return file_path.split("/")[0] if "/" in file_path else "."


def _listing(title: str, lines: Iterable[str]) -> str:
    return f"{title}:\n" + "".join(f"  {printable(line)}\n" for line in lines)


def _dataset(rows: list[AnnotatedImage], folder: Path) -> Dataset:
    columns = {
        "image": [_image_path(folder, row) for row in rows],
        "captions": [row.captions for row in rows],
        "person_id": [row.person_id for row in rows],
        "file_path": [row.file_path for row in rows],
    }
    return Dataset.from_dict(columns, features=FEATURES)
