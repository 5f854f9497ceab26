"""Tables in Markdown, a picture, and the collected results of a study."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.method.collect import WAYS, against, collect, mean_truth, metric, regions_of, thing_readers, truth
from benchmarks.method.contenders import ABLATED, ABLATIONS, CONTENDERS, TOWERS
from benchmarks.method.picture import draw
from benchmarks.method.plan import TUNING_SEED
from benchmarks.method.statistics import Spread, spread

Results = dict[int, dict[str, Any]]
ESTIMATE = "all_views"  # of commonality, in the tables; the others are in the runs
BASELINES = {  # what every contender with parts is compared with
    "itc": "ITC",
    "tal": "TAL",
    "sdm_id": "SDM+ID",
    "part_matching": "part matching",
    "fixed_margin": "fixed margin",
}
MEASURES = {  # of a region's part: what it is called, and where its chance level and best constant answer are
    "inside": ("attention inside", "inside_chance", "inside_constant"),
    "pointing": ("pointing game", None, "pointing_constant"),
    "agreement": ("cross-modal agreement", None, None),
    "false_negative_auc": ("false-negative AUC", None, None),
    "moves_most": ("moves most when repainted", None, None),
}


def write_report(results: Path) -> None:
    """`report.md` and `report.png` in the folder `results`, of the runs there."""
    found = collect(results)
    (results / "report.md").write_text(tables(found))
    draw(found, results / "report.png")
    print(f"Wrote {results / 'report.md'} and {results / 'report.png'}.")


def tables(found: dict[str, Any]) -> str:
    """All tables."""
    contenders = {name: runs for name, runs in found["contenders"].items() if runs}
    lines = [
        "<!-- written by `python benchmarks/method_study.py`; do not edit -->",
        *machines(contenders),
        "",
        "## Test retrieval (percent, mean ± standard deviation over seeds)",
        "",
        *retrieval_table(contenders, found["tuned"]),
        "",
        "## Paired differences of R@1 (points, mean ± half the 95 % interval, in brackets how many seeds have both)",
        "",
        *difference_table(found["contenders"]),
    ]
    if found["untuned"]:
        lines += ["", "## The same against untuned runs (folder `untuned`)", ""]
        lines += retrieval_table(found["untuned"], [])
        lines += ["", *difference_table(found["contenders"] | found["untuned"])]
    if found["tuning"]:
        lines += ["", f"## Tuning: R@1 on val of seed {TUNING_SEED}", "", *tuning_table(found["tuning"])]
    if any("suspected" in result for runs in contenders.values() for result in runs.values()):
        lines += ["", "## Suspected pairs at the end of training", "", *suspicion_table(contenders)]
    for name, runs in contenders.items():
        if CONTENDERS[name].has_parts:
            lines += ["", f"## Parts of {name}", "", *truth_table(runs)]
        if name == ABLATED:
            lines += ["", f"## Things, by the parts of {name}", "", *thing_table(runs)]
    if found["ablations"]:
        lines += ["", f"## Ablations of {ABLATED}, {steps(found['ablations'])} steps", ""]
        lines += ablation_table(found["ablations"])
    return "\n".join(lines) + "\n"


def machines(contenders: dict[str, Results]) -> list[str]:
    """What the runs share, what they ran on, and how long they took."""
    runs = [result for results in contenders.values() for result in results.values()]
    seconds = sum(result["seconds"] for result in runs)
    return [
        *(f"Regime: {regime}." for regime in sorted({str(result["regime"]) for result in runs})),
        *(f"Machine: {name}." for name in sorted({result["machine"] for result in runs})),
        f"{len(runs)} runs of contenders, {seconds / 3600:.1f} hours of single runs.",
    ]


def retrieval_table(contenders: dict[str, Results], tuned: Sequence[str]) -> list[str]:
    """Contender by way to rank and metric; runs made before people trained on were measured lack these."""
    names = {"rank_1": "R@1", "rank_5": "R@5", "mAP": "mAP"}
    header = [
        "contender",
        "seeds",
        "tuned",
        "w (by val)",
        *(f"{way} {short}" for way in WAYS for short in names.values()),
        "whole R@1 of as many people trained on",
    ]
    rows = []
    for name, runs in contenders.items():
        weights = sorted({result["part_weight"] for result in runs.values() if "part_weight" in result})
        cells = [cell(metric(runs, way, key).values(), 1) for way in WAYS for key in names]
        trained = metric(runs, "whole", "rank_1", "train")
        cells.append(cell(trained.values(), 1) + (f" ({len(trained)})" if 0 < len(trained) < len(runs) else ""))
        rows.append(
            [name, str(len(runs)), "yes" if name in tuned else "no", ", ".join(map(str, weights)) or "-", *cells]
        )
    return table(header, rows)


def difference_table(contenders: dict[str, Results]) -> list[str]:
    """Whole vector (and parts alone) of each contender with parts against the baselines."""
    rows = []
    for name, runs in contenders.items():
        if not (runs and CONTENDERS[name].has_parts):
            continue
        compared = [None if other == name else against(contenders, name, other, "rank_1") for other in BASELINES]
        parts = against(contenders, name, "sdm_id", "rank_1", way="parts")
        rows.append([name, *(difference(value) for value in [*compared, parts])])
    header = ["whole vector of", *(f"- {label}" for label in BASELINES.values()), "its parts alone - SDM+ID"]
    return table(header, rows)


def tuning_table(tuning: dict[str, dict[str, float]]) -> list[str]:
    """Contender by the values that were tried."""
    values = {name: [f"{value}: {rank:.1f}" for value, rank in tried.items()] for name, tried in tuning.items()}
    return table(["contender", "R@1 of each value"], [[name, ", ".join(tried)] for name, tried in values.items()])


def suspicion_table(contenders: dict[str, Results]) -> list[str]:
    """Of the robust contenders: how many training pairs they suspect, and how rightly."""
    rows = []
    for name, runs in contenders.items():
        found = [result["suspected"] for result in runs.values() if "suspected" in result]
        if found:
            count = cell([float(each["count"]) for each in found], 0)
            shares = [cell([100 * each[key] for each in found], 1) for key in ("precision", "recall")]
            rows.append([name, count, *shares])
    return table(["contender", "suspected", "of these at the wrong image (%)", "of those at the wrong image (%)"], rows)


def truth_table(runs: Results) -> list[str]:
    """Region by measure, with chance levels and best constant answers in brackets."""
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


def thing_table(runs: Results) -> list[str]:
    """Thing by how often its region's part points at it and which region's part reads its words most."""
    names = regions_of(runs.values())
    rows = []
    for (region, thing), seeds in thing_readers(runs).items():
        mean = {name: sum(seed[name] for seed in seeds) / len(seeds) for name in ("pointing", *names)}
        others = 1 - sum(mean[name] for name in names)
        rows.append([thing, region, *(f"{share:.2f}" for share in (*mean.values(), others))])
    readers = [f"words read most by the part of: {name}" for name in names]
    return table(["thing", "region", "its region's part points at it", *readers, "by a part of no region"], rows)


def measure_cell(key: str, measured: Callable[[str], Spread | None]) -> str:
    """A measure, with its chance level and best constant answer in brackets."""
    _, chance, constant = MEASURES[key]
    known = (("chance", chance), ("constant", constant))
    notes = [f"{word} {number(measured(name))}" for word, name in known if name]
    return number(measured(key)) + (f" ({', '.join(notes)})" if notes else "")


def ablation_table(runs_of: dict[str, Results]) -> list[str]:
    """Each change of the ablated contender; in the order in which they are listed, "unchanged" first."""
    rows = []
    for name in (name for name in ABLATIONS if name in runs_of):
        runs = runs_of[name]
        cells = [cell(metric(runs, way, "rank_1").values(), 1) for way in WAYS]
        truths = [number(mean_truth(runs, key)) for key in ("pointing", "agreement", "false_negative_auc")]
        rows.append([name, str(len(runs)), *cells, *truths])
    ways = [f"{way} R@1" for way in WAYS]
    return table(["change", "seeds", *ways, "pointing", "agreement", "false-negative AUC"], rows)


def steps(runs_of: dict[str, Results]) -> str:
    """The steps of these runs."""
    found = {run["regime"]["steps"] for runs in runs_of.values() for run in runs.values()}
    return ", ".join(str(number) for number in sorted(found))


def first(runs: Results) -> dict[str, Any]:
    """The result of any seed."""
    return next(iter(runs.values()))


def cell(values: Iterable[float], digits: int) -> str:
    """Mean ± standard deviation, or a dash."""
    values = list(values)
    if not values:
        return "-"
    found = spread(values)
    return f"{found.mean:.{digits}f}" + (f" ± {found.deviation:.{digits}f}" if found.count > 1 else "")


def difference(found: Spread | None) -> str:
    """Mean ± half the interval and in brackets the number of seeds, or a dash."""
    if found is None:
        return "-"
    return f"{found.mean:+.1f}" + (f" ± {found.half_interval:.1f}" if found.count > 1 else "") + f" ({found.count})"


def number(found: Spread | None) -> str:
    """A mean with two digits, or a dash."""
    return "-" if found is None else f"{found.mean:.2f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
