"""What is said of a checkpoint that does not fit: the version that saved it, its sizes, damage, a pickle, NaN."""

import json
import logging as standard_logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from packaging.version import InvalidVersion, Version
from transformers.utils import has_file, logging

logger = logging.get_logger(__name__)

VERSION = "0.1.0"  # of tbps; code that is copied to the Hub carries the version that it was copied from
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
# what reading a file ends in that does not hold what its name promises
OF_DAMAGE = (TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, RecursionError)


def warn_of_newer(saved_by: str | None) -> None:
    """Say once that a checkpoint is newer than this code, which does not know what was added since.

    Args:
        saved_by: version that saved it; None, as the first checkpoints have it, is older.
    """
    try:
        newer = saved_by is not None and Version(saved_by) > Version(VERSION)
    except InvalidVersion:  # of somebody's own build
        newer = True
    if newer:
        logger.warning_once(tell_versions(str(saved_by)))


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


def refuse_misfits(source: Any, mismatched: Iterable[tuple[str, Any, Any]]) -> None:
    """Refuse weights of other sizes than the configuration asks for, but those of the instance-loss head, which belongs
    to the people of one training set and is made anew for others.

    Raises:
        ValueError: names the first weight with its size in the checkpoint and in the model.
    """
    misfits = sorted((name, tuple(saved), tuple(made)) for name, saved, made in mismatched)
    heads = [misfit for misfit in misfits if misfit[0].startswith("id_head.")]
    if others := [misfit for misfit in misfits if misfit not in heads]:
        name, saved, made = others[0]
        raise ValueError(
            f"{source} has {name} of size {saved}, the configuration asks for {made} (of {len(others)} that do "
            "not fit): leave the sizes as the checkpoint has them, or train a model of these sizes from its towers."
        )
    if heads:
        _, saved, made = heads[0]
        logger.warning(
            f"{source} has an instance-loss head for {saved[0]} people, {made[0]} are asked for: the head starts anew."
        )


def refuse_broken(source: Any, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Refuse weights that are not finite: every embedding would be NaN, and no search would say so.

    Raises:
        ValueError: names up to three of them.
    """
    broken = [name for name, weight in weights if not weight.is_meta and not weight.isfinite().all()]
    if broken:
        raise ValueError(
            f"{source} holds NaN or infinite weights in {', '.join(broken[:3])} ({len(broken)} of its tensors): its "
            "training diverged or the file is damaged; use an earlier checkpoint."
        )


@contextmanager
def damage_named(what: str) -> Iterator[None]:
    """Make one kind of error of those that end the reading of a file which is damaged or altered.

    Args:
        what: is read, for the message.

    Raises:
        ValueError: says what is read and why that failed.
    """
    try:
        yield
    except StrictDataclassError as error:  # says first which check refused the value, and then why
        raise ValueError(f"{what}: {error.__cause__ or error}") from error
    except (json.JSONDecodeError, *OF_DAMAGE) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{what} cannot be read ({reason:.300}): a file of it is damaged or altered.") from error


@contextmanager
def mismatches_untold() -> Iterator[list[str]]:
    """Hold back what Transformers says of weights of other sizes ("reinitialised") while a checkpoint is loaded:
    `refuse_misfits` decides what becomes of them. Yields the list of what was held back."""
    held: list[str] = []

    def passes(record: standard_logging.LogRecord) -> bool:
        message = record.getMessage()
        if "LOAD REPORT" not in message or "MISMATCH" not in message:
            return True
        held.append(message)
        return False

    talking = standard_logging.getLogger("transformers.modeling_utils")
    talking.addFilter(passes)
    try:
        yield held
    finally:
        talking.removeFilter(passes)
