"""The benchmarks of text-based person search: their layout on disk, and how to find and read their annotations."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tbps.data.paths import local_path
from tbps.files_tbps import MAX_TEXT_BYTES, read_regular


class BenchmarkError(ValueError):
    """A benchmark is unknown, or its data are malformed."""


class MissingDataError(BenchmarkError, FileNotFoundError):
    """A folder or file of a benchmark cannot be found."""


class Size(NamedTuple):
    """The size of a split."""

    people: int
    images: int
    captions: int

    def __str__(self) -> str:
        return f"{self.images:,} images and {self.captions:,} captions of {self.people:,} people"


@dataclass(frozen=True)
class Benchmark:
    """The layout of a benchmark: `<root>/<folder>/<annotation>` and `<root>/<folder>/<images>/<path of an image>`."""

    name: str
    folder: str
    annotations: tuple[str, ...]  # file names of the annotation in circulation, the usual one first
    homepage: str | None = None  # of its authors, who provide the data and their terms of use
    path_key: str = "file_path"  # the key of an entry for the path of its image, relative to `images`
    splits: tuple[str, ...] = ("train", "val", "test")
    images: str = "imgs"
    unsplit: str | None = None  # a file without splits that some packages contain in place of the annotation
    rendered: bool = False  # rendered people instead of photographs
    truth: str | None = None  # for rendered people: the file in its folder that lists every image
    sizes: Mapping[str, Size] = field(default_factory=dict)  # of its splits, as published by its authors

    @property
    def source(self) -> str:
        """Where to get the data, for messages."""
        return "tbps.data.toypedes, which renders it" if self.homepage is None else f"its authors, see {self.homepage}"


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            name="CUHK-PEDES",
            folder="CUHK-PEDES",
            annotations=("reid_raw.json",),
            homepage="https://github.com/ShuangLI59/Person-Search-with-Natural-Language-Description",
            unsplit="caption_all.json",
            sizes={
                "train": Size(11_003, 34_054, 68_126),
                "val": Size(1_000, 3_078, 6_158),
                "test": Size(1_000, 3_074, 6_156),
            },
        ),
        Benchmark(
            name="ICFG-PEDES",
            folder="ICFG-PEDES",
            annotations=("ICFG-PEDES.json", "ICFG_PEDES.json"),
            homepage="https://github.com/zifyloo/SSAN",
            splits=("train", "test"),
            sizes={"train": Size(3_102, 34_674, 34_674), "test": Size(1_000, 19_848, 19_848)},
        ),
        Benchmark(
            name="RSTPReid",
            folder="RSTPReid",
            annotations=("data_captions.json",),
            homepage="https://github.com/NjtechCVLab/RSTPReid-Dataset",
            path_key="img_path",
            sizes={
                "train": Size(3_701, 18_505, 37_010),
                "val": Size(200, 1_000, 2_000),
                "test": Size(200, 1_000, 2_000),
            },
        ),
        Benchmark(
            name="ToyPEDES",
            folder="ToyPEDES",
            annotations=("reid_raw.json",),
            rendered=True,
            truth="ground_truth/attributes.json",
        ),
    )
}


def find_benchmark(name: str) -> Benchmark:
    """Find a benchmark by name, ignoring case.

    Raises:
        BenchmarkError: The name is unknown.
    """
    for benchmark in BENCHMARKS.values():
        if benchmark.name.lower() == name.lower():
            return benchmark
    raise BenchmarkError(f"unknown benchmark {name!r}: expected one of {', '.join(BENCHMARKS)}.")


def find_annotation(benchmark: Benchmark, root: str | Path) -> Path:
    """Find the annotation file of a benchmark.

    Args:
        root: The folder that holds the benchmark's folder, or that folder itself.

    Raises:
        MissingDataError: `root` or the annotation is missing. The message lists every path that was tried.
    """
    root = local_path(root).absolute()
    if not root.is_dir():
        raise MissingDataError(
            f"{root} is not a folder: expected the folder that holds {benchmark.folder}/, or that folder itself. "
            f"{benchmark.name} comes from {benchmark.source}."
        )
    folders = (root / benchmark.folder, root)
    candidates = [folder / name for folder in folders for name in benchmark.annotations]
    for path in candidates:
        if path.is_file():
            return path
    _refuse_unsplit(benchmark, folders)
    looked_for = "".join(f"\n  {path}" for path in candidates)
    raise MissingDataError(
        f"There is no annotation of {benchmark.name} below {root}. Looked for:{looked_for}\n"
        f"Point root to the folder that holds {benchmark.folder}/, or get the data from {benchmark.source}."
    )


def _refuse_unsplit(benchmark: Benchmark, folders: tuple[Path, ...]) -> None:
    for folder in folders:
        if benchmark.unsplit is not None and (folder / benchmark.unsplit).is_file():
            wanted = benchmark.annotations[0]
            raise MissingDataError(
                f"{folder} holds {benchmark.unsplit} but no {wanted}, and {benchmark.unsplit} does not assign images "
                f"to splits. Get {wanted} from {benchmark.source}, and put it beside {benchmark.unsplit}."
            )


class AnnotatedImage(NamedTuple):
    """One entry of an annotation file."""

    entry: int  # its number in the file, from 0
    split: str
    file_path: str
    captions: list[str]
    person_id: int


def read_annotation(annotation: Path, benchmark: Benchmark) -> list[AnnotatedImage]:
    """Read an annotation file and check every entry.

    Raises:
        BenchmarkError: The file is not a JSON list of entries of this benchmark. The message names the first bad entry.
    """
    try:
        entries = json.loads(read_regular(annotation, MAX_TEXT_BYTES).decode("utf-8-sig"))
    except ValueError as error:  # from JSON or UTF-8
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
                f"{where} lacks the key {key!r}; its keys are: {', '.join(entry)}. Entries of {benchmark.name} have "
                f"the keys {', '.join(kinds)}. Is this the annotation of another benchmark?"
            )
        if not isinstance(entry[key], kind) or isinstance(entry[key], bool):
            raise BenchmarkError(f"{where}: {key!r} is {entry[key]!r:.80}, expected {kind.__name__}. Correct the file.")
    if not all(isinstance(caption, str) for caption in entry["captions"]):
        raise BenchmarkError(f"{where}: 'captions' is {entry['captions']!r:.80}, expected strings. Correct the file.")
    if not -(2**63) <= entry["id"] < 2**63:
        raise BenchmarkError(
            f"{where}: 'id' is {entry['id']}, expected a 64-bit number, below 2**63. Correct the file."
        )
    if entry["split"] not in benchmark.splits:
        raise BenchmarkError(
            f"{where} has split {entry['split']!r}, expected one of {', '.join(benchmark.splits)}. Correct the file."
        )
    return AnnotatedImage(number, entry["split"], entry[benchmark.path_key], entry["captions"], entry["id"])
