"""What the finished runs of a study found, as one structure, and what it says of the machine."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.method.methods import METHODS
from benchmarks.method.plan import choices, is_tuned, tuning_file, val_rank_1
from benchmarks.method.results import finished_folders, finished_in, is_finished, read_result
from benchmarks.method.statistics import Spread, paired, spread

Results = dict[int, dict[str, Any]]  # of one method, by seed
WAYS = ("global", "parts", "whole")


def collect(results: Path) -> dict[str, Any]:
    """Every finished run: {"methods": {name: {seed: result}}, "ablations": ..., "tuned": names of
    methods whose settings were chosen on val, "tuning": {name: {value: R@1 on val}}, "untuned": runs kept
    of methods that were tuned later}."""
    methods = {name: by_seed(results / "runs" / name) for name in METHODS}
    return {
        "tuned": [name for name, runs in methods.items() if is_tuned(results, name, runs.values())],
        "tuning": {name: found for name in METHODS if (found := tuning(results, name))},
        "methods": methods,
        "untuned": {folder.name: by_seed(folder) for folder in finished_folders(results, "untuned")},
        "ablations": {folder.name: by_seed(folder) for folder in finished_folders(results, "ablations")},
    }


def tuning(results: Path, name: str) -> dict[str, float]:
    """R@1 on val, in percent, of each value that was tried of a method."""
    files = [tuning_file(results, name, choice) for choice in choices(METHODS[name])]
    return {file.stem: 100 * val_rank_1(file) for file in files if is_finished(file)}


def by_seed(folder: Path) -> Results:
    """Results of one method or ablation."""
    return {int(file.stem.removeprefix("seed")): read_result(file) for file in finished_in(folder)}


def metric(results: Results, way: str, name: str, split: str = "test") -> dict[int, float]:
    """Metric in percent by seed; without parts the whole vector is the global embedding. Runs made before "train" was
    measured (as many of the training people as test has) lack it and are left out."""
    found = {}
    for seed, result in results.items():
        if split == "train" and split not in result:
            continue
        ways = result[split]
        if way in ways or way == "whole":
            found[seed] = 100 * ways.get(way, ways["global"])[name]
    return found


def by_part_weight(results: Results, split: str) -> dict[str, Spread]:
    """R@1 of the whole vector in percent by the weight of the parts, over the seeds that kept it: from the global
    embedding alone, a weight of 0, to the parts alone, 1."""
    found: dict[str, list[float]] = {}
    for run in (result for result in results.values() if "by_part_weight" in result):
        ends = {"0": run[split]["global"]["rank_1"], "1": run[split]["parts"]["rank_1"]}
        inner = {weight: ranks[split] for weight, ranks in run["by_part_weight"].items()}
        for weight, rank in (ends | inner).items():
            found.setdefault(weight, []).append(100 * rank)
    return {weight: spread(found[weight]) for weight in sorted(found, key=float)}


def truth(results: Results, region: str, name: str, estimate: str | None = None) -> Spread | None:
    """A measure of one region's part over the seeds that have it."""
    regions = [result["truth"][region] for result in results.values() if "truth" in result]
    values = [measured[name] for measured in regions if name in measured]
    if estimate is not None:
        values = [value[estimate] for value in values if estimate in value]
    return spread([float(value) for value in values]) if values else None


def item_readers(results: Results) -> dict[tuple[str, str], list[dict[str, float]]]:
    """(region, item) -> of each seed that has it: `pointing`, and the share of the captions in which the part of each
    region, by the region's name, reads the words most (`benchmarks.method.by_item`)."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for regions in (result["truth"] for result in results.values() if "truth" in result):
        for region, measured in regions.items():
            for item, of_item in measured.get("by_item", {}).items():
                shares = {name: of_item["readers"][other["part"]] for name, other in regions.items()}
                found.setdefault((region, item), []).append({"pointing": of_item["pointing"], **shares})
    return found


def mean_truth(results: Results, name: str) -> Spread | None:
    """A measure averaged over the regions' parts, over seeds."""
    parts = [list(result["truth"].values()) for result in results.values() if "truth" in result]
    values = [sum(float(part[name]) for part in seed) / len(seed) for seed in parts]
    return spread(values) if values else None


def against(methods: dict[str, Results], ours: str, theirs: str, way: str, name: str) -> Spread | None:
    """Paired difference of two methods on test, in points, both by `way`; who has no parts ranks by the global
    embedding always."""
    their_way = way if METHODS[theirs].has_parts else "global"
    return paired(metric(methods[ours], way, name), metric(methods[theirs], their_way, name))


def regions_of(results: Iterable[dict[str, Any]]) -> list[str]:
    """Regions that any run measured."""
    return list(dict.fromkeys(region for result in results for region in result.get("truth", {})))
