"""Uploading a model: weights without the training head, processor, code and card, and nothing else of a run."""

from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import CommitInfo, HfApi, ModelCard

from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor
from tbps.sharing.card import CARD
from tbps.sharing.errors import hub_errors


def write_shared(model: TBPSModel, processor: TBPSProcessor, card: ModelCard, folder: Path) -> None:
    """Write what is shared; the model is left as it was."""
    head, identities = model.id_head, model.config.num_identities
    model.drop_id_head()
    try:
        model.save_pretrained(folder)
    finally:
        model.id_head, model.config.num_identities = head, identities
    processor.save_pretrained(folder)
    card.save(folder / CARD)


def upload(folder: TemporaryDirectory[str], repo_id: str, *, revision: str | None, message: str,
           token: str | None) -> CommitInfo:  # fmt: skip
    """Commit what `write_shared` wrote to a repository that is there, and remove the folder.

    Raises:
        SharingError: the Hub refused, or cannot be reached.
    """
    api = HfApi(token=token, library_name="tbps")
    with folder as path, hub_errors(repo_id, token):
        if revision is not None and not revision.startswith("refs/"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        return api.upload_folder(repo_id=repo_id, folder_path=path, revision=revision, commit_message=message)
