"""The YAML block of a model card, of what was measured and stated and nothing else.

What a card may say of data: a benchmark's name only for what is that benchmark as published.

The model card: metadata and text, made of a run's results and of the model itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from tbps.data.benchmarks import find_benchmark
from tbps.data.provenance import why_not_comparable
from tbps.modeling_tbps import TBPSModel

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
        f"{why_not_comparable(find_benchmark(results['benchmark']).name, split, results['data'][split])}"
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
    said = why_not_comparable(name, "the train split", results["data"]["train"])
    kind = "a part of" if is_trained_on_benchmark(results) else "data in the files of"
    return f" on {kind} {name} ({said})"


# The Hub has no tag for retrieval by text, and unknown tags show in no list. Giving vectors of texts and images is what
# the model does; the snippet that the Hub offers with a tag runs with this one as little as with CLIP's
# ("zero-shot-image-classification"): the card's own snippets do.
PIPELINE_TAG = "feature-extraction"
TASK_TYPE = "text-to-image-retrieval"  # of the results: model-index takes any name
TAGS = ("text-based-person-search", "text-to-image-retrieval", "person-re-identification", "tbps")


def card_data(
    results: dict[str, Any],
    repo_id: str,
    *,
    license: str | None = None,
    tags: str | list[str] | None = None,
    **fields: Any,
) -> ModelCardData:
    """The metadata of a card.

    Args:
        results: of `read_results`. repo_id: names the model in its results.
        license: the licence of the weights; without one, that of the training data where they ask for one.
        tags: further tags. fields: others of `ModelCardData`, such as language.
    """
    corpus = results.get("corpus") if results.get("training_arguments") else None
    benchmark = find_benchmark(results["benchmark"]) if is_trained_on_benchmark(results) else None
    if license is None and benchmark is not None and benchmark.homepage is not None:
        fields |= {"license": "other", "license_name": "terms-of-the-training-data", "license_link": benchmark.homepage}
    else:
        fields["license"] = license
    found = evaluations(results)
    extra = [tags] if isinstance(tags, str) else list(tags or ())
    fields.setdefault("base_model", results.get("base_model"))
    return ModelCardData(
        library_name="transformers",
        pipeline_tag=PIPELINE_TAG,
        tags=[*TAGS, *(tag for tag in extra if tag not in TAGS)],
        datasets=[corpus] if corpus else [benchmark.name] if benchmark else None,
        metrics=[name for name in METRICS if any(result.metric_type == name for result in found)] or None,
        eval_results=found or None,
        model_name=repo_id if found else None,
        **fields,
    )


def evaluations(results: dict[str, Any]) -> list[EvalResult]:
    """One entry for every metric of val and test that was measured on the benchmark as published, in [0, 1]."""
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
        for split in claimed(results)
        for name, label in METRICS.items()
    ]


CARD = "README.md"
TEMPLATE = Path(__file__).parent / "card.md"
REPO_PLACEHOLDER = "YOUR-NAME/YOUR-MODEL"  # in a card that was written before anyone said where the model goes


def make_card(model: TBPSModel, results: dict[str, Any], repo_id: str = REPO_PLACEHOLDER, **fields: Any) -> ModelCard:
    """A card that states what is known of the model.

    Args:
        model: its sizes are told. results: of `read_results`; what is not in them is left out.
        repo_id: where the model can be loaded from. fields: of `card_data`.
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
        table=table(results),
        claimed=claimed(results),
        remarks=remarks(results),
        trained_on=trained_on(results),
        trained_on_benchmark=is_trained_on_benchmark(results),
        measured_on_benchmark=any(standing(results, split) != "other" for split in measured(results)),
    )


def table(results: dict[str, Any]) -> str:
    """Metrics in percent as a Markdown table, one row a split; empty where nothing was measured."""
    rows = [
        f"| {split} | " + " | ".join(f"{100 * results[f'{split}_{name}']:.2f}" for name in METRICS) + " |"
        for split in measured(results)
    ]
    head = [f"| split | {' | '.join(METRICS.values())} |", "|---" * (len(METRICS) + 1) + "|"]
    return "\n".join([*head, *rows]) if rows else ""


def read_card(path: Path, repo_id: str) -> ModelCard:
    """A card that lies beside a model, as its owner left it, telling where the model goes."""
    return ModelCard(path.read_text(encoding="utf-8").replace(REPO_PLACEHOLDER, repo_id))
