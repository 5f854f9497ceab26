"""What is said of a checkpoint that does not fit: which version of tbps saved it, or that it is a pickle."""

from typing import Any

from packaging.version import Version
from transformers.utils import has_file, logging

logger = logging.get_logger(__name__)

VERSION = "0.1.0"  # of tbps; code that is copied to the Hub carries the version that it was copied from
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def warn_of_newer(saved_by: str | None) -> None:
    """Say once that a checkpoint is newer than this code, which does not know what was added since.

    Args:
        saved_by: version that saved it; None, as the first checkpoints have it, is older.
    """
    if saved_by is not None and Version(saved_by) > Version(VERSION):
        logger.warning_once(tell_versions(saved_by))


def tell_versions(saved_by: str) -> str:
    """The version that saved a checkpoint, the one that loads it, and what to do."""
    return (
        f"This checkpoint was saved by tbps {saved_by} and is loaded by the code of tbps {VERSION}; where something "
        f"does not fit, load it by tbps {saved_by}."
    )


def refuse_pickle(source: Any, subfolder: str = "", **hub: Any) -> None:
    """Called where `source`, a directory or Hub id, has no safetensors: refuse what else it may hold.

    Raises:
        ValueError: it holds a pickle.
    """
    prefix = f"{subfolder}/" if subfolder else ""
    found = [name for name in PICKLES if has_file(source, prefix + name, **hub)]
    if found:
        raise ValueError(
            f"{source} holds {prefix}{found[0]}, a pickle, and no model.safetensors: a pickle can run any code when it "
            "is opened, so tbps loads safetensors only. Ask whoever made it to save it by `save_pretrained` of "
            "Transformers 5, which writes model.safetensors."
        )
