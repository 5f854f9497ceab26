"""Sharing a training run: the model card of what was measured, and a commit without training head or pickle."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import HfApi, ModelCard
from transformers.trainer_utils import HubStrategy

from tbps.evaluation.fingerprint import identify
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor
from tbps.sharing.card import CARD, REPO_PLACEHOLDER, make_card
from tbps.sharing.push import read_results, upload, write_shared
from tbps.training.arguments import TBPSTrainingArguments
from tbps.training.card_facts import training_facts


def check_strategy(args: TBPSTrainingArguments) -> None:
    """Check that nothing is pushed before the end of the training.

    Raises:
        ValueError: another `hub_strategy` than "end".
    """
    strategy = HubStrategy(args.hub_strategy)
    if strategy != HubStrategy.END:
        raise ValueError(
            f"hub_strategy={strategy.value!r}: expected 'end'. Checkpoints of a training hold the head of its "
            "identities and pickled files, which are not shared."
        )


def write_card(
    model: TBPSModel,
    processor: TBPSProcessor,
    args: TBPSTrainingArguments,
    repo_id: str | None,
    trained: bool,
    **fields: Any,
) -> None:
    """Write README.md into the output directory, with the metrics of the results.json there.

    Args:
        repo_id: None if there is no repository yet. trained: state the training arguments if there is no results.json.
        fields: of `huggingface_hub.ModelCardData`.

    Raises:
        SharingError: results.json describes another model.
    """
    output = Path(args.output_dir)
    results = read_results(output, identify(model, processor).fingerprint)
    if not results and trained:
        results = training_facts(args)
    make_card(model, results, repo_id or REPO_PLACEHOLDER, **fields).save(output / CARD)


def push_trained(
    model: TBPSModel,
    processor: TBPSProcessor,
    output: Path,
    repo_id: str,
    *,
    revision: str | None,
    message: str,
    token: str | None,
    blocking: bool,
) -> Any:
    """Push the model without its training head, its processor, the code of both and the card of the output directory.

    Returns:
        The commit, or a future of it if not `blocking`.

    Raises:
        SharingError: the Hub refused or cannot be reached.
    """
    staged = TemporaryDirectory()
    write_shared(model, processor, ModelCard.load(output / CARD), Path(staged.name))
    job = partial(upload, staged, repo_id, revision=revision, message=message, token=token)
    return job() if blocking else HfApi().run_as_future(job)
