"""The report of a study: tables in Markdown and a chart."""

from pathlib import Path
from typing import Any

from benchmarks.method.chart import draw_chart
from benchmarks.method.collect import Results, collect
from benchmarks.method.methods import ABLATED, METHODS
from benchmarks.method.plan import TUNING_SEED
from benchmarks.method.retrieval_tables import (
    BASELINES,
    difference_tables,
    retrieval_table,
    suspicion_table,
    tuning_table,
    weight_table,
)
from benchmarks.method.truth_tables import ablation_table, item_table, truth_table


def write_report(results: Path) -> None:
    """Write `report.md` and `report.png` about the runs of `results` into that folder."""
    found = collect(results)
    (results / "report.md").write_text(tables(found), encoding="utf-8")
    draw_chart(found, results / "report.png")
    print(f"Wrote {results / 'report.md'} and {results / 'report.png'}.")


def tables(found: dict[str, Any]) -> str:
    """Return the Markdown of all tables."""
    methods = {name: runs for name, runs in found["methods"].items() if runs}
    lines = [
        "<!-- written by `python benchmarks/method_study.py`; do not edit -->",
        *machines(methods),
        "",
        "## Test retrieval (percent, mean ± standard deviation over seeds)",
        "",
        *retrieval_table(methods, found["tuned"]),
        *difference_tables(found["methods"], list(BASELINES)),
    ]
    if found["untuned"]:
        lines += ["", "## Untuned runs of contenders that were tuned (folder `untuned`)", ""]
        lines += retrieval_table(found["untuned"], [])
        baselines = [name for name in BASELINES if name in found["untuned"]]
        lines += difference_tables(found["methods"] | found["untuned"], baselines, " to untuned runs")
    if weights := weight_table(methods):
        lines += ["", "## R@1 of the whole vector by the weight of the parts (0: global alone, 1: parts alone)", ""]
        lines += weights
    if found["tuning"]:
        lines += ["", f"## Tuning: R@1 on val of seed {TUNING_SEED}", "", *tuning_table(found["tuning"])]
    if any("suspected" in result for runs in methods.values() for result in runs.values()):
        lines += ["", "## Suspected pairs at the end of training", "", *suspicion_table(methods)]
    for name, runs in methods.items():
        if METHODS[name].has_parts:
            lines += ["", f"## Parts of {name}", "", *truth_table(runs)]
        if name == ABLATED and (items := item_table(runs)):
            lines += ["", f"## Things, by the parts of {name}", "", *items]
    if found["ablations"]:
        lines += ["", f"## Ablations of {ABLATED}, {steps(found['ablations'])} steps", ""]
        lines += ablation_table(found["ablations"])
    return "\n".join(lines) + "\n"


def machines(methods: dict[str, Results]) -> list[str]:
    """Return lines about the runs: their regime, their machines and their time."""
    runs = [result for results in methods.values() for result in results.values()]
    seconds = sum(result["seconds"] for result in runs)
    return [
        *(f"Regime: {regime}." for regime in sorted({str(result["regime"]) for result in runs})),
        *(f"Machine: {name}." for name in sorted({result["machine"] for result in runs})),
        f"{len(runs)} runs of contenders, {seconds / 3600:.1f} hours of single runs.",
    ]


def steps(runs_of: dict[str, Results]) -> str:
    """Return the numbers of training steps of these runs."""
    found = {run["regime"]["steps"] for runs in runs_of.values() for run in runs.values()}
    return ", ".join(str(number) for number in sorted(found))
