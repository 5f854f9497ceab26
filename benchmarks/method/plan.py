"""The runs of each stage of the study."""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.method.methods import ABLATED, ABLATIONS, METHODS, ORACLE_SOURCE, Method
from benchmarks.method.results import is_finished, read_result

TUNING_SEED = 0  # has its own people: tuning sees nobody of the other seeds
ABLATION_SEEDS = (1,)


class Planned(NamedTuple):
    """A run to make.

    Args:
        file: where its result goes.
        settings, training: fields of `TBPSConfig` and of `TBPSTrainingArguments`.
        oracle_run: the finished run that says which region each part describes; None without the oracle.
    """

    file: Path
    settings: dict[str, Any]
    seed: int
    training: dict[str, Any]
    oracle_run: Path | None = None


def tuning_runs(results: Path, only: Sequence[str] | None) -> list[Planned]:
    """Plan every combination of the values that a method is tuned over, on one seed."""
    return [
        Planned(tuning_file(results, name, choice), {**method.settings, **choice}, TUNING_SEED, method.training)
        for name, method in chosen(only)
        for choice in choices(method)
        if len(choices(method)) > 1
    ]


def main_runs(
    results: Path, seeds: Iterable[int], only: Sequence[str] | None, tuned: bool = True, oracle: bool = False
) -> list[Planned]:
    """Plan every method, as tuned, on every seed; seed by seed, so that a stopped study has complete seeds.

    Args:
        oracle: whether to plan the methods with the oracle, which need finished runs of `ORACLE_SOURCE`, or the others.
    """
    return [
        Planned(
            run_file(results, name, seed),
            settings_of(results, name, tuned),
            seed,
            method.training,
            run_file(results, ORACLE_SOURCE, seed) if oracle else None,
        )
        for seed in seeds
        for name, method in chosen(only)
        if method.oracle == oracle
    ]


def ablation_runs(results: Path, tuned: bool = True) -> list[Planned]:
    """Plan every ablation of the method `ABLATED`, and that method unchanged."""
    base = settings_of(results, ABLATED, tuned)
    return [
        Planned(results / "ablations" / name / f"seed{seed}.json", {**base, **change}, seed, {})
        for seed in ABLATION_SEEDS
        for name, change in ABLATIONS.items()
    ]


def chosen(only: Sequence[str] | None) -> list[tuple[str, Method]]:
    """Return the methods of those names, or all.

    Raises:
        ValueError: a name is unknown.
    """
    unknown = set(only or ()) - set(METHODS)
    if unknown:
        raise ValueError(f"--only {', '.join(sorted(unknown))}: expected some of {', '.join(METHODS)}.")
    return [(name, METHODS[name]) for name in only or METHODS]


def choices(method: Method) -> list[dict[str, Any]]:
    """Return the combinations of tuned values; one empty combination if nothing is tuned."""
    return [dict(zip(method.tuned, values, strict=True)) for values in product(*method.tuned.values())]


def settings_of(results: Path, name: str, tuned: bool = True) -> dict[str, Any]:
    """Return the settings of a method with the values that were best on val, or with the first of each if not `tuned`.

    Raises:
        FileNotFoundError: tuning has not finished.
    """
    options = choices(METHODS[name])
    best = options[0]
    if tuned and len(options) > 1:
        best = max(options, key=lambda choice: val_rank_1(tuning_file(results, name, choice)))
    return {**METHODS[name].settings, **best}


def val_rank_1(file: Path) -> float:
    """Return R@1 on val of what a method ranks with: the whole vector, or without parts the global embedding."""
    val = read_result(file)["val"]
    return val.get("whole", val["global"])["rank_1"]


def is_tuned(results: Path, name: str, runs: Iterable[dict[str, Any]]) -> bool:
    """Whether a method was tuned and all of these runs have the tuned settings."""
    options = choices(METHODS[name])
    if len(options) > 1 and not all(is_finished(tuning_file(results, name, choice)) for choice in options):
        return False
    return all(run["settings"] == settings_of(results, name) for run in runs)


def run_file(results: Path, name: str, seed: int) -> Path:
    """Return the result file of a run."""
    return results / "runs" / name / f"seed{seed}.json"


def tuning_file(results: Path, name: str, choice: dict[str, Any]) -> Path:
    """Return the result file of a tuning run."""
    return results / "tuning" / name / ("-".join(f"{key}={value}" for key, value in choice.items()) + ".json")
