"""Pushing a finished run from its directory."""

from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi, ModelCard, constants, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from tbps.auto import register
from tbps.configuration_tbps import TBPSConfig
from tbps.fingerprint import identify
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor
from tbps.sharing.card import CARD, make_card, read_card
from tbps.sharing.errors import SharingError, hub_errors
from tbps.sharing.push import upload, write_shared
from tbps.sharing.results import read_results
from tbps.source_tbps import check_checkpoint


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
