"""Check whether loaded data are the published benchmark, by comparing their sizes with the published ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np

from tbps.data.benchmarks import AnnotatedImage, Benchmark, Size, find_annotation, find_benchmark, read_annotation
from tbps.data.splits import captions_of, person_ids_of

Standing = Literal["published", "incomplete", "other"]


def provenance(name: str, root: str | Path, splits: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Compare the loaded splits with the published benchmark.

    Args:
        name: The name of the benchmark, as given to `load_benchmark`.
        root: The root folder, as given to `load_benchmark`.
        splits: The rows in use, after some were skipped or held out. Values that are not data sets are ignored.

    Returns:
        A dict for each split. `size` (as loaded), `whole` (in the annotation file) and `published` (None if unknown)
        are [people, images, captions]. `standing` is "published" if all sizes agree, "incomplete" if some rows of the
        published split are missing, and "other" if the annotation file is not the published one.
    """
    benchmark = find_benchmark(name)
    annotation = find_annotation(benchmark, root)
    rows = read_annotation(annotation, benchmark)
    rendered = _is_rendered(benchmark, annotation, rows)
    loaded = {split: size_of(some) for split, some in splits.items() if isinstance(some, datasets.Dataset)}
    found: dict[str, dict[str, Any]] = {}
    for split, size in loaded.items():
        source = split if split in benchmark.splits else "train"  # a val split that was held out of train
        whole, published = _annotated([row for row in rows if row.split == source]), benchmark.sizes.get(source)
        used = _used(loaded, benchmark, source)
        standing: Standing = "other"
        if rendered or whole == published:
            standing = "published" if used in (whole, None) else "incomplete"
        sizes = {"size": list(size), "whole": list(whole), "published": published and list(published)}
        found[split] = {**sizes, "standing": standing}
    return found


def _used(loaded: Mapping[str, Size], benchmark: Benchmark, source: str) -> Size | None:
    """The loaded size of a split including the rows held out of it; None if only the held-out rows were loaded."""
    held_out = [split for split in loaded if split not in benchmark.splits] if source == "train" else []
    parts = [loaded[split] for split in (source, *held_out) if split in loaded]
    return Size(*map(sum, zip(*parts, strict=True))) if source in loaded else None


def why_not_comparable(benchmark: str, split: str, found: Mapping[str, Any]) -> str | None:
    """Explain why results on a split are not comparable with the benchmark; None if they are.

    Args:
        found: The entry of the split from `provenance`.
    """
    size, whole = Size(*found["size"]), Size(*found["whole"])
    if found["standing"] == "published":
        return None
    if found["standing"] == "incomplete":
        return f"{split} has {size}, out of {whole} in {benchmark}"
    published = f" of {Size(*found['published'])}" if found["published"] else ""
    return f"{split} has {size}, which is not the published split{published}"


def size_of(rows: datasets.Dataset) -> Size:
    """Count the people, images and captions of a loaded split."""
    return Size(len(np.unique(person_ids_of(rows))), len(rows), sum(map(len, captions_of(rows))))


def _annotated(rows: list[AnnotatedImage]) -> Size:
    return Size(len({row.person_id for row in rows}), len(rows), sum(len(row.captions) for row in rows))


def _is_rendered(benchmark: Benchmark, annotation: Path, rows: list[AnnotatedImage]) -> bool:
    """Whether tbps rendered these images, in which case their ground truth lists all of them."""
    truth = annotation.parent / (benchmark.truth or "")
    if benchmark.truth is None or not truth.is_file():
        return False
    named = json.loads(truth.read_text(encoding="utf-8"))["images"]
    return len(named) == len(rows) and all(row.file_path in named for row in rows)
