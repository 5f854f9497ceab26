"""Whether data are the benchmark whose layout they have: by the sizes that its authors published."""

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
    """
    What was loaded of each split, and whether it may be called by the benchmark's name.

    Args:
        name, root: as `load_benchmark` was given them. splits: the rows that are used, after some were left out or held
            out; what is no split of a benchmark, a corpus, is passed over.

    Returns:
        For each split `size`, `whole` (of the annotation file), `published` (None where there is no such), each as
        [people, images, captions], and `standing`: "published" where all of them agree, "incomplete" where something of
        the benchmark was left out, "other" where the file is not the published one.
    """
    benchmark = find_benchmark(name)
    annotation = find_annotation(benchmark, root)
    rows = read_annotation(annotation, benchmark)
    rendered = _is_rendered(benchmark, annotation, rows)
    loaded = {split: size_of(some) for split, some in splits.items() if isinstance(some, datasets.Dataset)}
    found: dict[str, dict[str, Any]] = {}
    for split, size in loaded.items():
        source = split if split in benchmark.splits else "train"  # val, held out of train
        whole, published = _annotated([row for row in rows if row.split == source]), benchmark.sizes.get(source)
        used = _used(loaded, benchmark, source)
        standing: Standing = "other"
        if rendered or whole == published:
            standing = "published" if used in (whole, None) else "incomplete"
        sizes = {"size": list(size), "whole": list(whole), "published": published and list(published)}
        found[split] = {**sizes, "standing": standing}
    return found


def _used(loaded: Mapping[str, Size], benchmark: Benchmark, source: str) -> Size | None:
    """What was loaded of a split, what was held out of it included; None where only that is known."""
    held_out = [split for split in loaded if split not in benchmark.splits] if source == "train" else []
    parts = [loaded[split] for split in (source, *held_out) if split in loaded]
    return Size(*map(sum, zip(*parts, strict=True))) if source in loaded else None


def why_not_comparable(benchmark: str, split: str, found: Mapping[str, Any]) -> str | None:
    """Why what was measured on a split is no result on the benchmark; None where it is one."""
    size, whole = Size(*found["size"]), Size(*found["whole"])
    if found["standing"] == "published":
        return None
    if found["standing"] == "incomplete":
        return f"{split} was {size}, of the {whole} of {benchmark}"
    asked = f" of {Size(*found['published'])}" if found["published"] else ""
    return f"{split} was {size}, which are not the published split{asked}"


def size_of(rows: datasets.Dataset) -> Size:
    """The size of a loaded split."""
    return Size(len(np.unique(person_ids_of(rows))), len(rows), sum(map(len, captions_of(rows))))


def _annotated(rows: list[AnnotatedImage]) -> Size:
    return Size(len({row.person_id for row in rows}), len(rows), sum(len(row.captions) for row in rows))


def _is_rendered(benchmark: Benchmark, annotation: Path, rows: list[AnnotatedImage]) -> bool:
    """Whether tbps rendered these images: the ground truth beside them names them all."""
    truth = annotation.parent / (benchmark.truth or "")
    if benchmark.truth is None or not truth.is_file():
        return False
    named = json.loads(truth.read_text(encoding="utf-8"))["images"]
    return len(named) == len(rows) and all(row.file_path in named for row in rows)
