"""Pushing a finished run from its directory.

What `train_hf.py` wrote of a run, where it speaks of the model that is shared.

Uploading a model: weights without the training head, processor, code and card, and nothing else of a run.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitInfo, HfApi, ModelCard, constants, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from tbps import register
from tbps.configuration_tbps import TBPSConfig
from tbps.evaluation.fingerprint import identify
from tbps.files_tbps import check_checkpoint
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor
from tbps.sharing.card import CARD, make_card, read_card
from tbps.sharing.errors import SharingError, hub_errors

RESULTS = "results.json"


def read_results(folder: Path, fingerprint: str) -> dict[str, Any]:
    """`results.json` of a run; empty where there is none, as a card then states nothing.

    Args:
        folder: of the run. fingerprint: `tbps.evaluation.fingerprint.identify` of the model that is shared.

    Raises:
        SharingError: it is broken, or tells of another model: the card would state what was not measured.
    """
    path = folder / RESULTS
    if not path.is_file():
        return {}
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SharingError(f"{path} is no JSON ({error}): evaluate again, or delete it to share no results.") from error
    measured = results.get("model_fingerprint") if isinstance(results, dict) else None
    if measured != fingerprint:
        raise SharingError(
            f"{path} tells of a model with fingerprint {measured}, the one to share has {fingerprint}: evaluate again "
            "by train_hf.py, or delete it (and README.md, which states it) to share no results."
        )
    return results


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


def push_run(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    license: str | None = None,
) -> str:
    """Push the model of a run directory, or of one of its checkpoints, by the token that the user logged in with.

    Args:
        folder: holds config.json, safetensors and processor. Its README.md, if there is one, is the card.
        repo_id: name/model; made if it is not there. private: of a repository that is made (None: the account's own).
        revision: branch, made if it is not there. license: of the weights, put into the card.

    Returns:
        The address of the commit.

    Raises:
        SharingError: the message says what is wrong with the folder, the name, the token or the permission.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise SharingError(f"repo id {repo_id!r}: expected name/model. {error}") from error
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
    """The model of a directory and its processor.

    Raises:
        SharingError: there is no directory, no model, a model of another kind, or no processor.
    """
    if not (folder / constants.CONFIG_NAME).is_file():
        raise SharingError(
            f"{folder} holds no model: expected config.json, model.safetensors and the processor's files, as "
            "train_hf.py and save_pretrained write them."
        )
    try:
        check_checkpoint(folder, TBPSConfig.model_type)
    except ValueError as error:
        raise SharingError(str(error)) from None
    register()  # the processor of a checkpoint that carries its code is else taken for a stranger's
    model = TBPSModel.from_pretrained(folder)
    try:
        return model, TBPSProcessor.from_pretrained(folder)
    except (OSError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SharingError(f"{folder} holds no processor that loads: save it beside the model. {reason}") from error


def edited_card(path: Path, repo_id: str, licence: str | None) -> ModelCard | None:
    """The card that lies in a run directory, which its owner may have edited; None where there is none."""
    if not path.is_file():
        return None
    card = read_card(path, repo_id)
    if licence is not None:
        card.data.license, card.data.license_name, card.data.license_link = licence, None, None
    return card
