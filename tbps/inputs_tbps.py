"""What a model is given, checked before it computes: sizes that fit it, ids that are ids."""

from typing import Any

import torch
from torch import nn
from transformers.utils import logging

logger = logging.get_logger(__name__)
HALF = (torch.float16, torch.bfloat16)


def check_labels(model: Any, person_ids: torch.Tensor) -> None:
    """Refuse ids that do not fit a model, which is trained or measured on them; warn of training that loses steps."""
    check_person_ids(person_ids, model.config.num_identities if model.training and model.id_head is not None else None)
    # an engine of several processes may show half of what it keeps in float32
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    if several or not model.training or torch.compiler.is_compiling():
        return
    half = next((weight.dtype for weight in model.parameters() if weight.requires_grad and weight.dtype in HALF), None)
    if half is not None:
        logger.warning_once(
            f"Weights of {str(half).removeprefix('torch.')} are trained, in which small steps are lost: load the model "
            "with dtype=torch.float32, or train it by TBPSTrainer, which makes them float32."
        )


def check_person_ids(person_ids: torch.Tensor, classes: int | None = None) -> None:
    """Refuse what says not who is on which pair; with `classes`, also what is none of the instance loss's classes."""
    if not isinstance(person_ids, torch.Tensor):
        raise ValueError(f"person_ids is a {type(person_ids).__name__}: expected a LongTensor (B,), one number a pair.")
    if person_ids.ndim != 1:
        raise ValueError(f"person_ids of shape {tuple(person_ids.shape)}: expected (B,), one number a pair.")
    if person_ids.is_floating_point() or person_ids.is_complex() or person_ids.dtype == torch.bool:
        raise ValueError(f"person_ids of {person_ids.dtype}: expected a LongTensor (B,), one number a pair.")
    if classes and len(person_ids) and not torch.compiler.is_compiling():  # a graph cannot depend on values
        lowest, highest = (int(bound) for bound in person_ids.aminmax())
        if lowest < 0 or highest >= classes:
            raise ValueError(
                f"person_ids from {lowest} to {highest}, but the instance loss has num_identities={classes} classes: "
                "expected 0 to num_identities - 1, as PersonPairs numbers people."
            )


def check_pictures(pixel_values: torch.Tensor, image_size: tuple[int, int]) -> None:
    """Refuse pictures that do not fill the model's position table, and bytes, which are not normalised yet."""
    if not isinstance(pixel_values, torch.Tensor):
        raise ValueError(f"pixel_values is a {type(pixel_values).__name__}: expected a tensor (B, 3, H, W) of floats.")
    if pixel_values.ndim != 4 or tuple(pixel_values.shape[-2:]) != image_size:
        raise ValueError(
            f"pixel_values of shape {tuple(pixel_values.shape)} do not fit a model made for pictures (B, 3, "
            f"{image_size[0]}, {image_size[1]}) (height x width): prepare them with the model's own processor."
        )
    if not pixel_values.is_floating_point():
        raise ValueError(
            f"pixel_values of type {pixel_values.dtype} are not normalised: expected floats, as the model's own "
            "processor makes them (or PixelPreparation.normalise)."
        )


def check_length(input_ids: torch.Tensor, positions: int) -> None:
    """Refuse sentences that do not fit the text tower's position table."""
    if input_ids.shape[-1] > positions:
        raise ValueError(
            f"Sentences of {input_ids.shape[-1]} tokens do not fit a text tower of {positions} positions: prepare them "
            "with the model's own processor, which cuts them."
        )


def refuse_replica(model: nn.Module) -> None:
    """Refuse `torch.nn.DataParallel`."""
    if getattr(model, "_is_replica", False):
        raise RuntimeError(
            "torch.nn.DataParallel splits a batch and with it the negatives of its loss: start one process a device "
            "with `torchrun` or `accelerate launch` instead (or show this process one device only)."
        )
