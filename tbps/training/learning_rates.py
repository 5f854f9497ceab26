"""Two learning rates: one for pretrained parameters, a multiple of it for those that started from random weights."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.utils import logging

from tbps.data.atomic_files import write_atomically
from tbps.training.checkpoints import CheckpointError

logger = logging.get_logger(__name__)

GROUPS = "learning_rates.json"  # of a checkpoint: the multiplier, and the parameters that it applies to
# parts of a parameter's name that a wrapper adds: torch.compile, checkpointing, FSDP, DistributedDataParallel, PEFT
WRAPPERS = {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "module",
            "base_model", "model", "base_layer", "modules_to_save", "default"}  # fmt: skip


def bare(name: str) -> str:
    """Strip from a parameter's name what wrappers add to it."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def new_parameters(model: nn.Module) -> list[str]:
    """Names, as in the unwrapped model, of the parameters that started from random weights."""
    started = {bare(name) for name in getattr(model, "from_checkpoint", ())}
    return [found for name, _ in model.named_parameters() if (found := bare(name)) not in started]


def parameters_to_speed_up(model: nn.Module, multiplier: float) -> list[str]:
    """Names of the parameters that a multiplier of the learning rate applies to.

    Raises:
        ValueError: all parameters started from random weights.
    """
    new = new_parameters(model)
    if len(new) == sum(1 for _ in model.parameters()):
        raise ValueError(
            f"new_module_lr_multiplier={multiplier}, but no parameter of this model started from a checkpoint, so "
            "the multiplier would apply to all of them. Leave it at 1 and set learning_rate."
        )
    if not new:
        logger.warning(
            f"new_module_lr_multiplier={multiplier} has no effect: all parameters started from a checkpoint."
        )
    return new


def split_groups(optimizer: torch.optim.Optimizer, model: nn.Module, names: Collection[str], multiplier: float) -> None:
    """Split each parameter group in two, and multiply the learning rate of the parameters in `names`."""
    chosen = set(names)
    new = {id(parameter) for name, parameter in model.named_parameters() if bare(name) in chosen}
    optimizer.param_groups[:] = [
        {**group, "params": params, "lr": group["lr"] * (multiplier if is_new else 1)}
        for group in optimizer.param_groups
        for is_new in (False, True)
        if (params := [p for p in group["params"] if (id(p) in new) == is_new])
    ]


def write_groups(checkpoint: Path, multiplier: float, names: Collection[str]) -> None:
    """Write the multiplier and the parameters that it applies to into a checkpoint."""
    known = {"new_module_lr_multiplier": multiplier, "new": list(names)}
    write_atomically(checkpoint / GROUPS, json.dumps(known, indent=1).encode())


def read_groups(checkpoint: Path, multiplier: float) -> list[str] | None:
    """Read the parameters that the multiplier applied to; None if all had one learning rate.

    Raises:
        CheckpointError: the checkpoint was trained with another multiplier.
    """
    path = checkpoint / GROUPS
    known: dict[str, Any] = {"new_module_lr_multiplier": 1, "new": None}
    if path.is_file():
        known = json.loads(path.read_bytes())
    if known["new_module_lr_multiplier"] != multiplier:
        raise CheckpointError(
            f"{checkpoint} was trained with new_module_lr_multiplier={known['new_module_lr_multiplier']} (1 if it "
            f"has no {GROUPS}), and this run has {multiplier}, so its optimizer has other groups. Resume with the same "
            "value, or start from its weights (model_name_or_path)."
        )
    names: list[str] | None = known["new"]
    return names
