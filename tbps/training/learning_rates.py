"""Two learning rates: one for what started from a checkpoint, a multiple of it for what started from random weights."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer
from transformers.utils import logging

from tbps.data.atomic_files import write_atomically
from tbps.training.arguments import TBPSTrainingArguments
from tbps.training.checkpoints import CheckpointError

logger = logging.get_logger(__name__)

GROUPS = "learning_rates.json"  # of a checkpoint: the multiplier, and the parameters that it applies to
# parts of a parameter's name that a wrapper adds: torch.compile, checkpointing, FSDP, DistributedDataParallel, PEFT
WRAPPERS = {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "module",
            "base_model", "model", "base_layer", "modules_to_save", "default"}  # fmt: skip


def bare(name: str) -> str:
    """A parameter's name without what wrappers add to it."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def new_parameters(model: nn.Module) -> list[str]:
    """Names, as of the unwrapped model, of all parameters that no checkpoint held when the model was made."""
    started = {bare(name) for name in getattr(model, "from_checkpoint", ())}
    return [found for name, _ in model.named_parameters() if (found := bare(name)) not in started]


class GroupedTrainer(Trainer):
    """`transformers.Trainer` with `args.new_module_lr_multiplier` times the learning rate for new parameters."""

    args: TBPSTrainingArguments
    resumed_groups: list[str] | None = None  # new parameters as of the checkpoint that a training goes on from

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Trainer's optimizer, whose groups are divided into new and other parameters.

        Raises:
            ValueError: a multiplier, but nothing of the model started from a checkpoint.
        """
        created = self.optimizer is None
        optimizer = super().create_optimizer(model)
        multiplier = self.args.new_module_lr_multiplier
        if created and multiplier != 1:
            names = set(self.new_names())
            new = {id(p) for name, p in self.model.named_parameters() if bare(name) in names}
            optimizer.param_groups[:] = [
                {**group, "params": params, "lr": group["lr"] * (multiplier if is_new else 1)}
                for group in optimizer.param_groups
                for is_new in (False, True)
                if (params := [p for p in group["params"] if (id(p) in new) == is_new])
            ]
        return optimizer

    def new_names(self) -> list[str]:
        """The parameters that the multiplier applies to: those of the checkpoint that is resumed, else the model's."""
        if self.resumed_groups is not None:
            return self.resumed_groups
        new, multiplier = new_parameters(self.model), self.args.new_module_lr_multiplier
        if len(new) == sum(1 for _ in self.model.parameters()):
            raise ValueError(
                f"new_module_lr_multiplier={multiplier}, but no parameter of this model started from a checkpoint, so "
                "that there is nothing to be faster than: leave it at 1 and set learning_rate."
            )
        if not new:
            logger.warning(f"new_module_lr_multiplier={multiplier}: all parameters started from a checkpoint.")
        return new

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save and self.args.new_module_lr_multiplier != 1:
            known = {"new_module_lr_multiplier": self.args.new_module_lr_multiplier, "new": self.new_names()}
            write_atomically(Path(output_dir) / GROUPS, json.dumps(known, indent=1).encode())

    def _inner_training_loop(self, *args: Any, resume_from_checkpoint: str | None = None, **kwargs: Any) -> Any:
        if resume_from_checkpoint is not None:
            self.resumed_groups = read_groups(Path(resume_from_checkpoint), self.args.new_module_lr_multiplier)
        return super()._inner_training_loop(*args, resume_from_checkpoint=resume_from_checkpoint, **kwargs)


def read_groups(checkpoint: Path, multiplier: float) -> list[str] | None:
    """The new parameters of a checkpoint's training; None where all had one learning rate.

    Raises:
        CheckpointError: it was trained with another multiplier, or with groups that it does not name.
    """
    path = checkpoint / GROUPS
    known: dict[str, Any] = {"new_module_lr_multiplier": 1, "new": None}
    if path.is_file():
        known = json.loads(path.read_bytes())
    if known["new_module_lr_multiplier"] != multiplier:
        raise CheckpointError(
            f"{checkpoint} was trained with new_module_lr_multiplier={known['new_module_lr_multiplier']} (1 where it "
            f"has no {GROUPS}), and this run has {multiplier}: its optimizer has other groups. Resume with the same, "
            "or start from its weights (model_name_or_path)."
        )
    names: list[str] | None = known["new"]
    return names
