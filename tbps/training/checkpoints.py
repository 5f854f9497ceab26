"""Checkpoints that a training can go on from after any accident: what was half-written is never taken for whole."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints, sort_checkpoints
from transformers.utils import logging

from tbps.data.atomic_files import write_atomically
from tbps.files_tbps import refuse_broken

logger = logging.get_logger(__name__)

MARK = "whole.json"  # written last: the files of the checkpoint and their sizes in bytes


class CheckpointError(ValueError):
    """A checkpoint cannot be written, or is not whole; the message says which is."""


def mark_complete(folder: Path) -> None:
    """Note all files of a checkpoint, once they are on disk."""
    sizes = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARK):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    write_atomically(folder / MARK, json.dumps({"files": sizes}, indent=1).encode())


def why_incomplete(folder: Path) -> str | None:
    """Why a checkpoint is not whole; None where it is."""
    if not folder.is_dir():
        return "there is no such folder"
    if not (folder / MARK).is_file():
        return f"it has no {MARK}: its writing was cut short, or it is not a checkpoint of TBPSTrainer"
    for name, size in json.loads((folder / MARK).read_bytes())["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
    return None


def last_complete_checkpoint(output_dir: str | Path) -> str | None:
    """The checkpoint of the most steps that is whole, or None; those after it that are not are named in the log."""
    if not Path(output_dir).is_dir():
        return None
    for folder in reversed(sort_checkpoints(str(output_dir))):
        fault = why_incomplete(Path(folder))
        if fault is None:
            return folder
        logger.warning(f"{folder} is left out: {fault}.")
    return None


class CheckpointTrainer(Trainer):
    """`transformers.Trainer` resumes from the highest number, whole or not, and deletes an older checkpoint before the
    new one is known to be whole."""

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train; `resume_from_checkpoint`: a checkpoint, or True for the last whole one of `args.output_dir`.

        Raises:
            CheckpointError: the checkpoint is not whole, or there is none.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_complete_checkpoint(self.args.output_dir)
            if resume_from_checkpoint is None:
                raise CheckpointError(f"No whole checkpoint is in {self.args.output_dir}: train from the start.")
        elif resume_from_checkpoint and (fault := why_incomplete(Path(resume_from_checkpoint))):
            whole = last_complete_checkpoint(self.args.output_dir)
            advice = f"resume from {whole}" if whole else f"none in {self.args.output_dir} is, train from the start"
            raise CheckpointError(f"{resume_from_checkpoint} is no whole checkpoint, {fault}: {advice}.")
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        if not self.is_fsdp_enabled:  # else a process has but a part of each, and the next loss tells
            refuse_broken(f"The model after step {self.state.global_step}", self.model.named_parameters())
        run = Path(self._get_output_dir(trial))
        folder = run / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        was_there = folder.exists()
        if self.args.should_save:  # where it is written again, it is not whole until it is
            (folder / MARK).unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()
        limit, self.args.save_total_limit = self.args.save_total_limit, None  # nothing is deleted yet
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # every process writes its random state
            if self.args.should_save:
                mark_complete(folder)
        except (OSError, RuntimeError, SafetensorError) as error:  # of Python, of torch, of safetensors
            raise self._save_error(folder, was_there, error) from error
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            rotate_checkpoints(str(run), limit, self.state.best_model_checkpoint, use_mtime=True)

    def _save_error(self, folder: Path, was_there: bool, error: Exception) -> CheckpointError:
        """What could not be written, and what is left to go on from; a half-written folder is removed, unless it was
        there before, with files that may be somebody else's."""
        if not was_there:
            shutil.rmtree(folder, ignore_errors=True)
        free = shutil.disk_usage(folder.parent).free
        whole = last_complete_checkpoint(folder.parent)
        return CheckpointError(
            f"{folder} could not be written ({error}), {free / 2**20:.0f} MiB are free there. Make room and resume: "
            + (f"{whole} is whole." if whole else "there is no earlier checkpoint.")
        )
