"""The model card: its metadata and text, made from the results of a run and from the model.

A card states only what was measured. It uses the name of a benchmark only for data that are that benchmark.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from tbps.data.benchmarks import find_benchmark
from tbps.data.provenance import why_not_comparable
from tbps.modeling_tbps import TBPSModel

CARD = "README.md"
TEMPLATE = Path(__file__).parent / "card.md"
REPO_PLACEHOLDER = "YOUR-NAME/YOUR-MODEL"  # in a card that was written before its repository was known

METRICS = {"rank_1": "R@1", "rank_5": "R@5", "rank_10": "R@10", "mAP": "mAP", "mINP": "mINP"}
SPLITS = ("val", "test")

# The Hub has no tag for retrieval by text, and lists do not show unknown tags. The model produces vectors of texts and
# images, which is feature extraction. The snippet that the Hub shows for this tag does not work, and neither does that
# of CLIP ("zero-shot-image-classification"); the card has its own snippets.
PIPELINE_TAG = "feature-extraction"
TASK_TYPE = "text-to-image-retrieval"  # of the results; a model-index accepts any name
TAGS = ("text-based-person-search", "text-to-image-retrieval", "person-re-identification", "tbps")


def make_card(model: TBPSModel, results: dict[str, Any], repo_id: str = REPO_PLACEHOLDER, **fields: Any) -> ModelCard:
    """Make the card of a model.

    Args:
        model: The model, whose sizes the card states.
        results: The results of a run, from `read_results`. The card omits everything that they do not contain.
        repo_id: The repository from which the model can be loaded.
        fields: Arguments of `card_data`.
    """
    data = card_data(results, repo_id, **fields)
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        repo_id=repo_id,
        config=model.config,
        parameters=sum(p.numel() for name, p in model.named_parameters() if not name.startswith("id_head.")),
        results=results,
        benchmark=find_benchmark(results["benchmark"]) if "benchmark" in results else None,
        table=metrics_table(results),
        comparable=comparable_splits(results),
        incomparable=incomparability_notes(results),
        training_data=training_data(results),
        trained_on_benchmark=is_trained_on_benchmark(results),
        measured_on_benchmark=any(standing(results, split) != "other" for split in measured_splits(results)),
    )


def read_card(path: Path, repo_id: str) -> ModelCard:
    """Read a card that its owner may have edited, and fill in the repository."""
    return ModelCard(path.read_text(encoding="utf-8").replace(REPO_PLACEHOLDER, repo_id))


def card_data(
    results: dict[str, Any],
    repo_id: str,
    *,
    license: str | None = None,
    tags: str | list[str] | None = None,
    **fields: Any,
) -> ModelCardData:
    """Make the metadata of a card.

    Args:
        results: The results of a run, from `read_results`.
        repo_id: The name of the model in its results.
        license: The licence of the weights. By default the terms of the training data, if there are any.
        tags: Additional tags.
        fields: Other fields of `ModelCardData`, such as language.
    """
    corpus = results.get("corpus") if results.get("training_arguments") else None
    benchmark = find_benchmark(results["benchmark"]) if is_trained_on_benchmark(results) else None
    if license is None and benchmark is not None and benchmark.homepage is not None:
        fields |= {"license": "other", "license_name": "terms-of-the-training-data", "license_link": benchmark.homepage}
    else:
        fields["license"] = license
    eval_results = evaluation_results(results)
    extra = [tags] if isinstance(tags, str) else list(tags or ())
    fields.setdefault("base_model", results.get("base_model"))
    return ModelCardData(
        library_name="transformers",
        pipeline_tag=PIPELINE_TAG,
        tags=[*TAGS, *(tag for tag in extra if tag not in TAGS)],
        datasets=[corpus] if corpus else [benchmark.name] if benchmark else None,
        metrics=[name for name in METRICS if any(result.metric_type == name for result in eval_results)] or None,
        eval_results=eval_results or None,
        model_name=repo_id if eval_results else None,
        **fields,
    )


def evaluation_results(results: dict[str, Any]) -> list[EvalResult]:
    """One entry for every metric, in [0, 1], of every split that is comparable with the published benchmark."""
    return [
        EvalResult(
            task_type=TASK_TYPE,
            task_name="Text-based person search",
            dataset_type=find_benchmark(results["benchmark"]).name,
            dataset_name=find_benchmark(results["benchmark"]).name,
            dataset_split=split,
            metric_type=name,
            metric_name=f"{label} ({split})",
            metric_value=results[f"{split}_{name}"],
        )
        for split in comparable_splits(results)
        for name, label in METRICS.items()
    ]


def metrics_table(results: dict[str, Any]) -> str:
    """A Markdown table of the metrics in percent, one row per split; empty if nothing was measured."""
    rows = [
        f"| {split} | " + " | ".join(f"{100 * results[f'{split}_{name}']:.2f}" for name in METRICS) + " |"
        for split in measured_splits(results)
    ]
    head = [f"| split | {' | '.join(METRICS.values())} |", "|---" * (len(METRICS) + 1) + "|"]
    return "\n".join([*head, *rows]) if rows else ""


def standing(results: Mapping[str, Any], split: str) -> str:
    """The standing of a split, see `tbps.data.provenance`. Old results without one count as published."""
    return (results.get("data") or {}).get(split, {}).get("standing", "published")


def measured_splits(results: Mapping[str, Any]) -> list[str]:
    """The splits with all metrics."""
    return [split for split in SPLITS if all(f"{split}_{name}" in results for name in METRICS)]


def comparable_splits(results: Mapping[str, Any]) -> list[str]:
    """The measured splits whose metrics are results on the published benchmark."""
    return [split for split in measured_splits(results) if standing(results, split) == "published"]


def incomparability_notes(results: Mapping[str, Any]) -> list[str]:
    """Why the other measured splits are not comparable with the published benchmark."""
    return [
        f"{why_not_comparable(find_benchmark(results['benchmark']).name, split, results['data'][split])}"
        for split in measured_splits(results)
        if standing(results, split) != "published"
    ]


def is_trained_on_benchmark(results: Mapping[str, Any]) -> bool:
    """Whether the model was trained on a benchmark or a part of it, so that its terms apply."""
    trained = "benchmark" in results and bool(results.get("training_arguments"))
    return trained and not results.get("corpus") and standing(results, "train") != "other"


def training_data(results: Mapping[str, Any]) -> str:
    """Phrase for the training data, placed after "Trained"; empty if unknown."""
    if results.get("corpus"):
        return f" on the corpus {results['corpus']}"
    if "benchmark" not in results:
        return ""
    name = find_benchmark(results["benchmark"]).name
    if standing(results, "train") == "published":
        return f" on the train split of {name}"
    note = why_not_comparable(name, "the train split", results["data"]["train"])
    kind = "a part of" if is_trained_on_benchmark(results) else "data in the files of"
    return f" on {kind} {name} ({note})"
