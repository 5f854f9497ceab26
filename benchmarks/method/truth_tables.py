"""Tables that compare parts with the ground truth of rendered people."""

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.method.cells import cell, number, table
from benchmarks.method.collect import WAYS, Results, item_readers, mean_truth, metric, regions_of, truth
from benchmarks.method.methods import ABLATIONS, TOWERS
from benchmarks.method.statistics import Spread

ESTIMATE = "all_views"  # of commonality, in the tables; the others are in the runs
MEASURES = {  # of a region's part: label, keys of its chance level and of the best constant answer
    "inside": ("attention inside", "inside_chance", "inside_constant"),
    "pointing": ("pointing game", None, "pointing_constant"),
    "agreement": ("cross-modal agreement", None, None),
    "false_negative_auc": ("false-negative AUC", None, None),
    "moves_most": ("moves most when repainted", None, None),
}


def truth_table(runs: Results) -> list[str]:
    """Tabulate regions by measure, with chance levels and best constant answers in brackets."""
    chance = f"chance 1/K = {1 / first(runs)['settings'].get('num_parts', TOWERS['num_parts']):.2f}"
    labels = [
        f"{label} ({chance})" if key in ("agreement", "moves_most") else label
        for key, (label, _, _) in MEASURES.items()
    ]
    header = ["region", *labels, f"commonality Spearman of {ESTIMATE}: in a batch (its truth), among all"]
    rows = []
    for region in regions_of(runs.values()):
        measured = [measure_cell(key, partial(truth, runs, region)) for key in MEASURES]
        batch, everyone = (
            number(truth(runs, region, key, ESTIMATE)) for key in ("commonality", "commonality_among_all")
        )
        known = number(truth(runs, region, "commonality_of_batch_truth"))
        rows.append([region, *measured, f"{batch} ({known}), {everyone}"])
    rows.append(["mean", *(measure_cell(key, partial(mean_truth, runs)) for key in MEASURES), ""])
    return table(header, rows)


def item_table(runs: Results) -> list[str]:
    """Tabulate items by how often their region's part points at them, and by which region's part reads their words
    most, for the runs that recorded it."""
    names = regions_of(runs.values())
    rows = []
    for (region, item), seeds in item_readers(runs).items():
        mean = {name: sum(seed[name] for seed in seeds) / len(seeds) for name in ("pointing", *names)}
        others = 1 - sum(mean[name] for name in names)
        rows.append([item, region, *(f"{share:.2f}" for share in (*mean.values(), others))])
    readers = [f"words read most by the part of: {name}" for name in names]
    header = ["thing", "region", "its region's part points at it", *readers, "by a part of no region"]
    return table(header, rows) if rows else []


def measure_cell(key: str, measured: Callable[[str], Spread | None]) -> str:
    """Format a measure, with its chance level and best constant answer in brackets."""
    _, chance, constant = MEASURES[key]
    known = (("chance", chance), ("constant", constant))
    notes = [f"{word} {number(measured(name))}" for word, name in known if name]
    return number(measured(key)) + (f" ({', '.join(notes)})" if notes else "")


def ablation_table(runs_of: dict[str, Results]) -> list[str]:
    """Tabulate the ablations in the order of `ABLATIONS`, "unchanged" first."""
    rows = []
    for name in (name for name in ABLATIONS if name in runs_of):
        runs = runs_of[name]
        cells = [cell(metric(runs, way, "rank_1").values(), 1) for way in WAYS]
        truths = [number(mean_truth(runs, key)) for key in ("pointing", "agreement", "false_negative_auc")]
        rows.append([name, str(len(runs)), *cells, *truths])
    ways = [f"{way} R@1" for way in WAYS]
    return table(["change", "seeds", *ways, "pointing", "agreement", "false-negative AUC"], rows)


def first(runs: Results) -> dict[str, Any]:
    """Return the result of the first seed."""
    return next(iter(runs.values()))
