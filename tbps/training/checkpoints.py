"""Checkpoints that survive any accident: a checkpoint counts only once all of its files are on disk."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from transformers.trainer_utils import sort_checkpoints
from transformers.utils import logging

from tbps.data.atomic_files import write_atomically

logger = logging.get_logger(__name__)

MARK = "whole.json"  # written last: the files of the checkpoint and their sizes in bytes


class CheckpointError(ValueError):
    """A checkpoint is incomplete, does not match the run, or cannot be written; the message says which."""


def mark_complete(folder: Path) -> None:
    """Write the mark that lists all files of a checkpoint, once they are on disk."""
    sizes = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARK):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    write_atomically(folder / MARK, json.dumps({"files": sizes}, indent=1).encode())


def why_incomplete(folder: Path) -> str | None:
    """Say what a checkpoint lacks; None if it is complete."""
    if not folder.is_dir():
        return "there is no such folder"
    if not (folder / MARK).is_file():
        return f"it has no {MARK}: writing it was interrupted, or TBPSTrainer did not write it"
    for name, size in json.loads((folder / MARK).read_bytes())["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
    return None


def last_complete_checkpoint(output_dir: str | Path) -> str | None:
    """Find the latest complete checkpoint, or None; incomplete ones after it are logged."""
    if not Path(output_dir).is_dir():
        return None
    for folder in reversed(sort_checkpoints(str(output_dir))):
        reason = why_incomplete(Path(folder))
        if reason is None:
            return folder
        logger.warning(f"{folder} is left out: {reason}.")
    return None


def checkpoint_to_resume(wanted: str | bool | None, output_dir: str) -> str | None:
    """Resolve `resume_from_checkpoint`: a folder, True for the latest complete one of `output_dir`, or None.

    Raises:
        CheckpointError: the checkpoint is incomplete, or True found none.
    """
    if not wanted:
        return None
    if wanted is True:
        found = last_complete_checkpoint(output_dir)
        if found is None:
            raise CheckpointError(f"No complete checkpoint is in {output_dir}. Train from the start.")
        return found
    if reason := why_incomplete(Path(wanted)):
        other = last_complete_checkpoint(output_dir)
        advice = f"Resume from {other}" if other else f"{output_dir} has no complete one, so train from the start"
        raise CheckpointError(f"{wanted} is not a complete checkpoint: {reason}. {advice}.")
    return wanted


@contextmanager
def writing_checkpoint(folder: Path, main: bool, wait: Callable[[], None]) -> Iterator[None]:
    """Write a checkpoint in the body, and mark it complete after all processes have written their files.

    A half-written folder is removed, unless it existed before and so may hold files of somebody else.

    Args:
        main: whether this process marks it. wait: returns once all processes have called it.

    Raises:
        CheckpointError: a file could not be written.
    """
    existed = folder.exists()
    if main:  # a checkpoint that is written again is incomplete until it is marked again
        (folder / MARK).unlink(missing_ok=True)
    wait()
    try:
        yield
        wait()
        if main:
            mark_complete(folder)
    except (OSError, RuntimeError, SafetensorError) as error:  # of Python, of torch, of safetensors
        if not existed:
            shutil.rmtree(folder, ignore_errors=True)
        free = shutil.disk_usage(folder.parent).free
        last = last_complete_checkpoint(folder.parent)
        raise CheckpointError(
            f"{folder} could not be written ({error}); the disk has {free / 2**20:.0f} MiB free. Make room and resume. "
            + (f"The latest complete checkpoint is {last}." if last else "There is no earlier checkpoint.")
        ) from error
