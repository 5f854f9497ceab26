"""The YAML block of a model card, of what was measured and stated and nothing else."""

from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from tbps.data.benchmarks import find_benchmark
from tbps.sharing.claims import METRICS, claimed, is_trained_on_benchmark

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
