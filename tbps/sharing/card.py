"""The model card: metadata and text, made of a run's results and of the model itself."""

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from tbps.data.benchmarks import find_benchmark
from tbps.modeling_tbps import TBPSModel
from tbps.sharing.claims import METRICS, claimed, is_trained_on_benchmark, measured, remarks, standing, trained_on
from tbps.sharing.metadata import card_data

CARD = "README.md"
TEMPLATE = Path(__file__).parent / "card.md"
NO_REPO = "YOUR-NAME/YOUR-MODEL"  # in a card that was written before anyone said where the model goes


def make_card(model: TBPSModel, results: dict[str, Any], repo_id: str = NO_REPO, **fields: Any) -> ModelCard:
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
    return ModelCard(path.read_text(encoding="utf-8").replace(NO_REPO, repo_id))
