"""The chart of a study: test R@1 of every method by each way to rank, one dot per seed."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.method.collect import WAYS, metric
from benchmarks.method.statistics import spread

COLOURS = {"global": "#8a8f98", "parts": "#2a9d8f", "whole": "#c8553d"}


def draw_chart(found: dict[str, Any], path: Path) -> None:
    """Draw one row per method: the seeds, and their mean with its 95 % interval."""
    methods = [name for name, runs in found["methods"].items() if runs]
    figure = Figure(figsize=(8, 0.6 + 0.5 * max(1, len(methods))), layout="constrained")
    axes = figure.subplots()
    for row, name in enumerate(methods):
        runs = found["methods"][name]
        for place, way in enumerate(WAYS):
            values = list(metric(runs, way, "rank_1").values())
            if not values or (way == "whole" and not metric(runs, "parts", "rank_1")):
                continue
            y, centre = row + 0.22 * (place - 1), spread(values)
            half = centre.half_interval if centre.count > 2 else 0  # that of two seeds would dwarf all others
            axes.scatter(values, [y] * len(values), s=10, color=COLOURS[way], alpha=0.45, linewidths=0)
            axes.errorbar(centre.mean, y, xerr=half, fmt="o", ms=5, color=COLOURS[way], capsize=2,
                          label=way if row == last_with_parts(methods, found) else None)  # fmt: skip
    axes.set_yticks(range(len(methods)), methods)
    axes.invert_yaxis()
    axes.set_xlabel("test R@1, percent (dots: seeds; bars: 95 % interval of the mean, from 3 seeds on)")
    axes.grid(axis="x", color="#e4e6ea")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if methods:
        axes.legend(frameon=False, loc="best")
    figure.savefig(path, dpi=150)


def last_with_parts(methods: list[str], found: dict[str, Any]) -> int:
    """Return the row whose three ways to rank label the legend."""
    rows = [i for i, name in enumerate(methods) if metric(found["methods"][name], "parts", "rank_1")]
    return rows[-1] if rows else 0
