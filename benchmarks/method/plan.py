"""Which runs a stage of the study consists of: a file, the settings of the model, the seed."""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.method.contenders import ABLATED, ABLATIONS, CONTENDERS, TELLS, Contender
from benchmarks.method.results import read_result

TUNING_SEED = 0  # a world of its own: nothing of the seeds that count is seen in tuning
ABLATION_SEEDS = (1,)


class Planned(NamedTuple):
    """A run: where its result goes, fields of `TBPSConfig`, the seed, fields of `TBPSTrainingArguments`; the finished
    run whose parts' regions it is told, or None."""

    file: Path
    settings: dict[str, Any]
    seed: int
    training: dict[str, Any]
    told_by: Path | None = None


def tuning_runs(results: Path, only: Sequence[str] | None) -> list[Planned]:
    """Every combination of the values that a contender is tuned over, on one seed."""
    return [
        Planned(tuning_file(results, name, choice), {**contender.settings, **choice}, TUNING_SEED, contender.training)
        for name, contender in chosen(only)
        for choice in choices(contender)
        if len(choices(contender)) > 1
    ]


def main_runs(
    results: Path, seeds: Iterable[int], only: Sequence[str] | None, tuned: bool = True, told: bool = False
) -> list[Planned]:
    """Every contender, as tuned, on every seed; a seed at a time, so that a stopped study compares whole seeds.
    `told`: those that are told what the parts of another's run are about, which must be there; else all others."""
    return [
        Planned(
            run_file(results, name, seed),
            settings_of(results, name, tuned),
            seed,
            contender.training,
            run_file(results, TELLS, seed) if told else None,
        )
        for seed in seeds
        for name, contender in chosen(only)
        if contender.told == told
    ]


def ablation_runs(results: Path, tuned: bool = True) -> list[Planned]:
    """Every ablation of the contender `ABLATED`, and that one unchanged."""
    base = settings_of(results, ABLATED, tuned)
    return [
        Planned(results / "ablations" / name / f"seed{seed}.json", {**base, **change}, seed, {})
        for seed in ABLATION_SEEDS
        for name, change in ABLATIONS.items()
    ]


def chosen(only: Sequence[str] | None) -> list[tuple[str, Contender]]:
    """The contenders of those names, or all.

    Raises:
        ValueError: a name that is none of them.
    """
    unknown = set(only or ()) - set(CONTENDERS)
    if unknown:
        raise ValueError(f"--only {', '.join(sorted(unknown))}: expected some of {', '.join(CONTENDERS)}.")
    return [(name, CONTENDERS[name]) for name in only or CONTENDERS]


def choices(contender: Contender) -> list[dict[str, Any]]:
    """The combinations of tuned values; one empty one where nothing is tuned."""
    return [dict(zip(contender.tuned, values, strict=True)) for values in product(*contender.tuned.values())]


def settings_of(results: Path, name: str, tuned: bool = True) -> dict[str, Any]:
    """Settings of a contender, with the values that were best on val, or with the first of each where not `tuned`.

    Raises:
        FileNotFoundError: it was to be tuned and was not yet.
    """
    options = choices(CONTENDERS[name])
    best = options[0]
    if tuned and len(options) > 1:
        best = max(options, key=lambda choice: val_rank_1(tuning_file(results, name, choice)))
    return {**CONTENDERS[name].settings, **best}


def val_rank_1(file: Path) -> float:
    """R@1 on val of what a contender ranks with: the whole vector, or the global embedding without parts."""
    val = read_result(file)["val"]
    return val.get("whole", val["global"])["rank_1"]


def is_tuned(results: Path, name: str, runs: Iterable[dict[str, Any]]) -> bool:
    """Whether a contender was tuned and all of these runs have the settings that came of it."""
    options = choices(CONTENDERS[name])
    if len(options) > 1 and not all(tuning_file(results, name, choice).is_file() for choice in options):
        return False
    return all(run["settings"] == settings_of(results, name) for run in runs)


def run_file(results: Path, name: str, seed: int) -> Path:
    """Where a run's result lies."""
    return results / "runs" / name / f"seed{seed}.json"


def tuning_file(results: Path, name: str, choice: dict[str, Any]) -> Path:
    """Where the result of a tuning run lies."""
    return results / "tuning" / name / ("-".join(f"{key}={value}" for key, value in choice.items()) + ".json")
