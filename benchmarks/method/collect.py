"""The results of all finished runs of a study as one structure, and numbers drawn from it."""

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
    """Collect every finished run.

    Returns:
        "methods", "untuned" (runs from before a method was tuned) and "ablations": name -> seed -> result. "tuned": the
        names of methods whose settings were chosen on val. "tuning": name -> value -> R@1 on val.
    """
    methods = {name: by_seed(results / "runs" / name) for name in METHODS}
    return {
        "tuned": [name for name, runs in methods.items() if is_tuned(results, name, runs.values())],
        "tuning": {name: found for name in METHODS if (found := tuning(results, name))},
        "methods": methods,
        "untuned": {folder.name: by_seed(folder) for folder in finished_folders(results, "untuned")},
        "ablations": {folder.name: by_seed(folder) for folder in finished_folders(results, "ablations")},
    }


def tuning(results: Path, name: str) -> dict[str, float]:
    """Return R@1 on val in percent for each value that was tried for a method."""
    files = [tuning_file(results, name, choice) for choice in choices(METHODS[name])]
    return {file.stem: 100 * val_rank_1(file) for file in files if is_finished(file)}


def by_seed(folder: Path) -> Results:
    """Read the results of one method or ablation by seed."""
    return {int(file.stem.removeprefix("seed")): read_result(file) for file in finished_in(folder)}


def metric(results: Results, way: str, name: str, split: str = "test") -> dict[int, float]:
    """Return a metric in percent by seed. Without parts the whole vector is the global embedding.

    Runs from before "train" was measured (as many training people as test has) are left out of that split.
    """
    found = {}
    for seed, result in results.items():
        if split == "train" and split not in result:
            continue
        ways = result[split]
        if way in ways or way == "whole":
            found[seed] = 100 * ways.get(way, ways["global"])[name]
    return found


def by_part_weight(results: Results, split: str) -> dict[str, Spread]:
    """Return R@1 of the whole vector in percent by part weight, over the seeds that recorded it: 0 is the global
    embedding alone, 1 the parts alone."""
    found: dict[str, list[float]] = {}
    for run in (result for result in results.values() if "by_part_weight" in result):
        ends = {"0": run[split]["global"]["rank_1"], "1": run[split]["parts"]["rank_1"]}
        inner = {weight: ranks[split] for weight, ranks in run["by_part_weight"].items()}
        for weight, rank in (ends | inner).items():
            found.setdefault(weight, []).append(100 * rank)
    return {weight: spread(found[weight]) for weight in sorted(found, key=float)}


def truth(results: Results, region: str, name: str, estimate: str | None = None) -> Spread | None:
    """Summarise a measure of one region's part over the seeds that have it."""
    regions = [result["truth"][region] for result in results.values() if "truth" in result]
    values = [measured[name] for measured in regions if name in measured]
    if estimate is not None:
        values = [value[estimate] for value in values if estimate in value]
    return spread([float(value) for value in values]) if values else None


def item_readers(results: Results) -> dict[tuple[str, str], list[dict[str, float]]]:
    """Return (region, item) -> for each seed: `pointing`, and by region the fraction of captions whose words that
    region's part reads most (`benchmarks.method.by_item`)."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for regions in (result["truth"] for result in results.values() if "truth" in result):
        for region, measured in regions.items():
            for item, of_item in measured.get("by_item", {}).items():
                shares = {name: of_item["readers"][other["part"]] for name, other in regions.items()}
                found.setdefault((region, item), []).append({"pointing": of_item["pointing"], **shares})
    return found


def mean_truth(results: Results, name: str) -> Spread | None:
    """Average a measure over the regions' parts and summarise it over seeds."""
    parts = [list(result["truth"].values()) for result in results.values() if "truth" in result]
    values = [sum(float(part[name]) for part in seed) / len(seed) for seed in parts]
    return spread(values) if values else None


def against(methods: dict[str, Results], ours: str, theirs: str, way: str, name: str) -> Spread | None:
    """Summarise the paired difference of two methods on test, in points. Both rank by `way`; a method without parts
    ranks by the global embedding."""
    their_way = way if METHODS[theirs].has_parts else "global"
    return paired(metric(methods[ours], way, name), metric(methods[theirs], their_way, name))


def regions_of(results: Iterable[dict[str, Any]]) -> list[str]:
    """Return the regions that any run measured."""
    return list(dict.fromkeys(region for result in results for region in result.get("truth", {})))
