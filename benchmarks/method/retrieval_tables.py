"""Retrieval tables: methods, their differences, tuned values, part weights, suspected pairs."""

from collections.abc import Sequence

from benchmarks.method.cells import cell, difference, table
from benchmarks.method.collect import WAYS, Results, against, by_part_weight, metric
from benchmarks.method.methods import METHODS

METRICS = {"rank_1": "R@1", "rank_5": "R@5", "mAP": "mAP"}
BASELINES = {  # each method is compared with these
    "itc": "ITC",
    "tal": "TAL",
    "sdm_id": "SDM+ID",
    "part_matching": "part matching",
    "fixed_margin": "fixed margin",
}


def retrieval_table(methods: dict[str, Results], tuned: Sequence[str]) -> list[str]:
    """Tabulate methods by way to rank and metric. Older runs lack the column about training people."""
    header = [
        "contender",
        "seeds",
        "tuned",
        "w (by val)",
        *(f"{way} {short}" for way in WAYS for short in METRICS.values()),
        "whole R@1 of as many people trained on",
    ]
    rows = []
    for name, runs in methods.items():
        weights = sorted({result["part_weight"] for result in runs.values() if "part_weight" in result})
        cells = [cell(metric(runs, way, key).values(), 1) for way in WAYS for key in METRICS]
        trained = metric(runs, "whole", "rank_1", "train")
        cells.append(cell(trained.values(), 1) + (f" ({len(trained)})" if 0 < len(trained) < len(runs) else ""))
        rows.append(
            [name, str(len(runs)), "yes" if name in tuned else "no", ", ".join(map(str, weights)) or "-", *cells]
        )
    return table(header, rows)


def difference_tables(methods: dict[str, Results], baselines: Sequence[str], where: str = "") -> list[str]:
    """Return `difference_table` of each metric, with headings."""
    lines = []
    for key, short in METRICS.items():
        lines += ["", f"## Paired differences of {short}{where}", ""]
        lines += ["Points: mean ± half the 95 % interval (standard deviation; seeds that have both).", ""]
        lines += difference_table(methods, baselines, key)
    return lines


def difference_table(methods: dict[str, Results], baselines: Sequence[str], key: str) -> list[str]:
    """Tabulate each method against the baselines by each way to rank."""
    rows = []
    for name in (name for name, runs in methods.items() if runs):
        for way in WAYS if METHODS[name].has_parts else ("global",):
            others = [None if name == other else against(methods, name, other, way, key) for other in baselines]
            rows.append([name, way, *map(difference, others)])
    return table(["contender", "by", *(f"- {BASELINES[name]}" for name in baselines)], rows)


def weight_table(methods: dict[str, Results]) -> list[str]:
    """Tabulate methods and splits by part weight, for the runs that recorded it."""
    rows, header = [], []
    for name, runs in methods.items():
        for split in ("val", "test"):
            if found := by_part_weight(runs, split):
                header = ["contender", "split", "seeds", *found]
                count = str(next(iter(found.values())).count)
                rows.append([name, split, count, *(f"{value.mean:.1f}" for value in found.values())])
    return table(header, rows) if rows else []


def tuning_table(tuning: dict[str, dict[str, float]]) -> list[str]:
    """Tabulate methods by the values that were tried."""
    values = {name: [f"{value}: {rank:.1f}" for value, rank in tried.items()] for name, tried in tuning.items()}
    return table(["contender", "R@1 of each value"], [[name, ", ".join(tried)] for name, tried in values.items()])


def suspicion_table(methods: dict[str, Results]) -> list[str]:
    """Tabulate how many training pairs the robust methods suspect, and how rightly."""
    rows = []
    for name, runs in methods.items():
        found = [result["suspected"] for result in runs.values() if "suspected" in result]
        if found:
            count = cell([float(each["count"]) for each in found], 0)
            shares = [cell([100 * each[key] for each in found], 1) for key in ("precision", "recall")]
            rows.append([name, count, *shares])
    return table(["contender", "suspected", "of these at the wrong image (%)", "of those at the wrong image (%)"], rows)
