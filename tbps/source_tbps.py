"""What is named as a checkpoint: refused where it is a file, a folder of something else or nothing, before Transformers
takes it for a name on the Hub; and which commit of the Hub it is."""

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers.utils import CONFIG_NAME, cached_file
from transformers.utils.hub import extract_commit_hash

EXPECTED = (
    "expected a checkpoint: a folder that save_pretrained wrote (config.json, model.safetensors, processor), or the "
    "name of one on the Hub, OWNER/MODEL"
)
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar")
_FILES = re.compile(r".*\.(pth?|bin|ckpt|pkl|pickle|tar|safetensors|onnx|gguf|json|ya?ml|zip)", re.IGNORECASE)
_LARGEST_CONFIG = 1 << 24  # bytes


def check_place(source: Any) -> None:
    """Refuse a name that is neither a folder nor can be one on the Hub.

    Raises:
        ValueError: it is a file. FileNotFoundError: there is nothing.
    """
    path = Path(source)
    if path.is_dir():
        return
    if path.exists():
        advice = f"give its folder, {path.parent}"
        if path.suffix.lower() in _PICKLES:
            advice = (
                "what torch.save wrote is a pickle, which can run any code when it is opened: load it where it was "
                "made, and save the model by save_pretrained"
            )
        raise ValueError(f"{source} is no folder: {EXPECTED}. Of this file, {advice}.")
    try:
        validate_repo_id(str(source))
        on_hub = not _FILES.fullmatch(path.name)
    except HFValidationError:
        on_hub = False
    if not on_hub:
        raise FileNotFoundError(f"{source} is not there: {EXPECTED}.")


def check_checkpoint(source: Any, model_type: str | None = None, subfolder: str = "") -> None:
    """Refuse what holds no model; a folder only, what is on the Hub is not fetched for this.

    Args:
        model_type: what config.json must say; None takes any.

    Raises:
        ValueError: a file, or a folder without a configuration or of another kind. FileNotFoundError: nothing is there.
    """
    check_place(source)
    folder = Path(source) / subfolder
    if not folder.is_dir() or (folder / "adapter_config.json").is_file():  # adapters name the model that they change
        return
    path = folder / CONFIG_NAME
    if not path.is_file():
        there = sorted(entry.name for entry in folder.iterdir())
        holds = f"it holds {', '.join(there[:5])}{' ...' if there[5:] else ''}" if there else "it is empty"
        raise ValueError(f"{folder} holds no {CONFIG_NAME} ({holds}): {EXPECTED}.")
    found = _model_type(path)
    if model_type not in (None, found):
        raise ValueError(
            f"{folder} holds a model of type {found!r}: expected a tbps checkpoint; of towers, such as CLIP, "
            "TBPSModel.from_vision_text_pretrained (clip_checkpoint in a recipe) makes one."
        )


def _model_type(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise ValueError("it is too large")
        found = json.loads(path.read_text(encoding="utf-8"))["model_type"]
    except KeyError:
        raise ValueError(f"{path} names no model_type: it is no configuration of a model. Here {EXPECTED}.") from None
    except (ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is no configuration ({reason:.200}): get the checkpoint again.") from error
    return str(found)


def commit_of(source: Any, **hub: Any) -> str | None:
    """The commit that a checkpoint in the cache of the Hub is of, by name or by path; None for other folders."""
    try:
        path = cached_file(source, CONFIG_NAME, **{**hub, "local_files_only": True})
    except (OSError, ValueError):  # it is told where the checkpoint is loaded
        return None
    return extract_commit_hash(path, None)
