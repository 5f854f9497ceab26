"""Push a finished run to the Hub: weights without the training head, processor, code and card, and nothing else."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitInfo, HfApi, ModelCard, constants, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from tbps.configuration_tbps import TBPSConfig
from tbps.evaluation.fingerprint import identify
from tbps.files_tbps import check_checkpoint
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor
from tbps.sharing.card import CARD, make_card, read_card
from tbps.sharing.errors import SharingError, hub_errors

RESULTS = "results.json"


def read_results(folder: Path, fingerprint: str) -> dict[str, Any]:
    """Read the results.json of a run; an empty dict if there is none.

    Args:
        folder: The folder of the run.
        fingerprint: The fingerprint of the model to share, from `tbps.evaluation.fingerprint.identify`.

    Raises:
        SharingError: The file is damaged, or describes another model, whose results the card must not state.
    """
    path = folder / RESULTS
    if not path.is_file():
        return {}
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SharingError(
            f"{path} is not JSON ({error}). Evaluate again, or delete it to share no results."
        ) from error
    measured = results.get("model_fingerprint") if isinstance(results, dict) else None
    if measured != fingerprint:
        raise SharingError(
            f"{path} describes a model with fingerprint {measured}, but the model to share has {fingerprint}. Evaluate "
            "again with train_hf.py, or delete it (and README.md, which states these results) to share no results."
        )
    return results


def write_shared(model: TBPSModel, processor: TBPSProcessor, card: ModelCard, folder: Path) -> None:
    """Write the files to share: model, processor and card. The model itself does not change."""
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
    """Commit the files of `write_shared` to an existing repository, and remove the folder.

    Args:
        folder: The folder to upload.
        repo_id: The repository.
        revision: The branch, created if it does not exist; None for the default branch.
        message: The commit message.
        token: The token; None for the token that the user logged in with.

    Raises:
        SharingError: The Hub refused the upload, or cannot be reached.
    """
    api = HfApi(token=token, library_name="tbps")
    with folder as path, hub_errors(repo_id, token):
        if revision is not None and not revision.startswith("refs/"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        return api.upload_folder(repo_id=repo_id, folder_path=path, revision=revision, commit_message=message)


def push_run(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    license: str | None = None,
) -> str:
    """Push the model of a run folder, or of one of its checkpoints, with the token that the user logged in with.

    Args:
        folder: The folder with config.json, model.safetensors and the processor. Its README.md, if any, is the card.
        repo_id: The repository, NAME/MODEL; created if it does not exist.
        private: Whether a new repository is private; None for the default of the account.
        revision: The branch, created if it does not exist.
        license: The licence of the weights, written into the card.

    Returns:
        The URL of the commit.

    Raises:
        SharingError: The folder, the name, the token or the permissions are wrong; the message says which.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise SharingError(f"repo id must be NAME/MODEL, got {repo_id!r}. {error}") from error
    model, processor = load_run(folder)
    if get_token() is None:
        raise SharingError(
            f"not logged in to {constants.ENDPOINT}: run `hf auth login`, or set HF_TOKEN, with a token that has write "
            "access."
        )
    results = read_results(folder, identify(model, processor).fingerprint)
    with hub_errors(repo_id):
        repo_id = HfApi().create_repo(repo_id, private=private, exist_ok=True).repo_id
    card = edited_card(folder / CARD, repo_id, license) or make_card(model, results, repo_id, license=license)
    staged = TemporaryDirectory()
    write_shared(model, processor, card, Path(staged.name))
    return upload(staged, repo_id, revision=revision, message=f"Push {folder.name}", token=None).commit_url


def load_run(folder: Path) -> tuple[TBPSModel, TBPSProcessor]:
    """Load the model and the processor of a folder.

    Raises:
        SharingError: The folder has no tbps model or no processor.
    """
    if not (folder / constants.CONFIG_NAME).is_file():
        raise SharingError(
            f"{folder} holds no model: expected config.json, model.safetensors and the files of the processor, as "
            "written by train_hf.py and save_pretrained."
        )
    try:
        check_checkpoint(folder, TBPSConfig.model_type)
    except ValueError as error:
        raise SharingError(str(error)) from None
    model = TBPSModel.from_pretrained(folder)
    try:
        return model, TBPSProcessor.from_pretrained(folder)
    except (OSError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SharingError(
            f"{folder} holds no processor that can be loaded. Save the processor beside the model. {reason}"
        ) from error


def edited_card(path: Path, repo_id: str, license: str | None) -> ModelCard | None:
    """Read the card in a run folder, which its owner may have edited, and set its licence; None if there is none."""
    if not path.is_file():
        return None
    card = read_card(path, repo_id)
    if license is not None:
        card.data.license, card.data.license_name, card.data.license_link = license, None, None
    return card
