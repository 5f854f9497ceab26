"""What the finished runs of a study found, as one structure, and what it says of the machine."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.method.contenders import CONTENDERS
from benchmarks.method.plan import choices, is_tuned, tuning_file, val_rank_1
from benchmarks.method.results import read_result
from benchmarks.method.statistics import Spread, paired, spread

Results = dict[int, dict[str, Any]]  # of one contender, by seed
WAYS = ("global", "parts", "whole")


def collect(results: Path) -> dict[str, Any]:
    """Every finished run: {"contenders": {name: {seed: result}}, "ablations": ..., "tuned": names of
    contenders whose settings were chosen on val, "tuning": {name: {value: R@1 on val}}, "untuned": runs kept
    of contenders that were tuned later}."""
    contenders = {name: by_seed(results / "runs" / name) for name in CONTENDERS}
    return {
        "tuned": [name for name, runs in contenders.items() if is_tuned(results, name, runs.values())],
        "tuning": {name: found for name in CONTENDERS if (found := tuning(results, name))},
        "contenders": contenders,
        "untuned": {folder.name: by_seed(folder) for folder in sorted((results / "untuned").glob("*"))},
        "ablations": {folder.name: by_seed(folder) for folder in sorted((results / "ablations").glob("*"))},
    }


def tuning(results: Path, name: str) -> dict[str, float]:
    """R@1 on val, in percent, of each value that was tried of a contender."""
    files = [tuning_file(results, name, choice) for choice in choices(CONTENDERS[name])]
    return {file.stem: 100 * val_rank_1(file) for file in files if file.is_file()}


def by_seed(folder: Path) -> Results:
    """Results of one contender or ablation."""
    files = sorted(folder.glob("seed*.json"))
    return {int(file.stem.removeprefix("seed")): read_result(file) for file in files}


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


def thing_readers(results: Results) -> dict[tuple[str, str], list[dict[str, float]]]:
    """(region, thing) -> of each seed that has it: `pointing`, and the share of the captions in which the part of each
    region, by the region's name, reads the words most (`benchmarks.method.things`)."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for regions in (result["truth"] for result in results.values() if "truth" in result):
        for region, measured in regions.items():
            for thing, of_thing in measured.get("by_thing", {}).items():
                shares = {name: of_thing["readers"][other["part"]] for name, other in regions.items()}
                found.setdefault((region, thing), []).append({"pointing": of_thing["pointing"], **shares})
    return found


def mean_truth(results: Results, name: str) -> Spread | None:
    """A measure averaged over the regions' parts, over seeds."""
    parts = [list(result["truth"].values()) for result in results.values() if "truth" in result]
    values = [sum(float(part[name]) for part in seed) / len(seed) for seed in parts]
    return spread(values) if values else None


def against(contenders: dict[str, Results], ours: str, theirs: str, way: str, name: str) -> Spread | None:
    """Paired difference of two contenders on test, in points, both by `way`; who has no parts ranks by the global
    embedding always."""
    their_way = way if CONTENDERS[theirs].has_parts else "global"
    return paired(metric(contenders[ours], way, name), metric(contenders[theirs], their_way, name))


def regions_of(results: Iterable[dict[str, Any]]) -> list[str]:
    """Regions that any run measured."""
    return list(dict.fromkeys(region for result in results for region in result.get("truth", {})))
