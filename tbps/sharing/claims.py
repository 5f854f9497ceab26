"""What a card may say of data: a benchmark's name only for what is that benchmark as published."""

from collections.abc import Mapping
from typing import Any

from tbps.data.benchmarks import find_benchmark
from tbps.data.provenance import remark

METRICS = {"rank_1": "R@1", "rank_5": "R@5", "rank_10": "R@10", "mAP": "mAP", "mINP": "mINP"}
SPLITS = ("val", "test")


def standing(results: Mapping[str, Any], split: str) -> str:
    """Of `tbps.data.provenance`. Results written before it was noted are taken to be of what they name."""
    return (results.get("data") or {}).get(split, {}).get("standing", "published")


def measured(results: Mapping[str, Any]) -> list[str]:
    """The splits of which all metrics are there."""
    return [split for split in SPLITS if all(f"{split}_{name}" in results for name in METRICS)]


def claimed(results: Mapping[str, Any]) -> list[str]:
    """The measured splits whose numbers are results on the benchmark."""
    return [split for split in measured(results) if standing(results, split) == "published"]


def remarks(results: Mapping[str, Any]) -> list[str]:
    """Of the other measured splits, why they are none."""
    return [
        f"{remark(find_benchmark(results['benchmark']).name, split, results['data'][split])}"
        for split in measured(results)
        if standing(results, split) != "published"
    ]


def is_trained_on_benchmark(results: Mapping[str, Any]) -> bool:
    """Whether the training data are the benchmark's, or a part of them, and its terms hold."""
    trained = "benchmark" in results and bool(results.get("training_arguments"))
    return trained and not results.get("corpus") and standing(results, "train") != "other"


def trained_on(results: Mapping[str, Any]) -> str:
    """The training data, for "Trained ..."; empty where they are not known."""
    if results.get("corpus"):
        return f" on the corpus {results['corpus']}"
    if "benchmark" not in results:
        return ""
    name = find_benchmark(results["benchmark"]).name
    if standing(results, "train") == "published":
        return f" on the train split of {name}"
    said = remark(name, "the train split", results["data"]["train"])
    kind = "a part of" if is_trained_on_benchmark(results) else "data in the files of"
    return f" on {kind} {name} ({said})"
