"""The training loss of text-based person search: its terms, their sum, and the checks of person ids.

A batch has B pairs of text and image. Embeddings have unit norm, and `person_ids` (B,) says who is on each pair.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from transformers.utils import logging

from .configuration_tbps import TBPSConfig
from .matching_losses_tbps import MATCHING, part_independence, part_matching, weighted_mean
from .ranking_loss_tbps import commonality_margin_ranking

logger = logging.get_logger(__name__)

CHUNK = 512  # anchors of the ranking loss at a time: B = 4096, K = 8 then needs under 1 GiB
PART_LOSSES = ("cmr", "part_matching", "part_independence", "part_compactness")
HALF = (torch.float16, torch.bfloat16)


def instance_loss(
    text_logits: torch.Tensor,
    image_logits: torch.Tensor,
    person_ids: torch.Tensor,
    pair_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """ID loss (Zheng et al., "Dual-Path Convolutional Image-Text Embeddings with Instance Loss", TOMM 2020).

    One head classifies both modalities into the N training identities.

    Args:
        text_logits, image_logits: (B, N).
        person_ids: (B,) in 0..N-1.
        pair_weights: (B,) or None.

    Returns:
        Scalar, mean of the two cross entropies.
    """
    entropies = [
        F.cross_entropy(logits.float(), person_ids, reduction="none") for logits in (text_logits, image_logits)
    ]
    return weighted_mean((entropies[0] + entropies[1]) / 2, pair_weights)


def tbps_losses(
    config: TBPSConfig,
    *,
    text_global: torch.Tensor,
    image_global: torch.Tensor,
    text_parts: torch.Tensor,
    image_parts: torch.Tensor,
    person_ids: torch.Tensor,
    scale: torch.Tensor,
    text_part_weights: torch.Tensor | None = None,
    image_part_spread: torch.Tensor | None = None,
    id_head: nn.Linear | None = None,
    pair_weights: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Compute the loss terms that the configuration asks for, without their coefficients.

    Args:
        text_global, image_global: (B, D), unit norm.
        text_parts, image_parts: (B, K, d), unit norm.
        person_ids: (B,).
        scale: scalar, similarity scale of the global loss.
        text_part_weights, image_part_spread: (B, K) or None.
        id_head: classifier of the N training identities, or None.
        pair_weights: (B,) in [0, 1], trust in each pair (see `matching_losses_tbps`); None trusts all.

    Returns:
        Scalars under "global", "id", "cmr", "part_matching", "part_independence" and "part_compactness". A term whose
        coefficient, `{name}_loss_weight` of the configuration, is 0 is missing.
    """
    losses, parts = {}, (text_parts, image_parts, person_ids)
    if config.global_loss_weight:
        matching = MATCHING[config.global_loss]
        losses["global"] = matching(text_global @ image_global.T, person_ids, scale, pair_weights=pair_weights)
    if config.id_loss_weight and id_head is not None:
        # unit vectors are too short for a softmax over thousands of people: scale them to norm sqrt(D)
        factor = text_global.shape[1] ** 0.5
        text, image = (id_head((factor * side).to(id_head.weight.dtype)) for side in (text_global, image_global))
        losses["id"] = instance_loss(text, image, person_ids, pair_weights)
    if config.cmr_loss_weight:
        losses["cmr"] = commonality_margin_ranking(
            *parts,
            config.cmr_margin,
            config.cmr_margin_floor,
            config.commonality,
            positives=config.cmr_positives,
            negatives=config.cmr_negatives,
            pair_weights=pair_weights,
            chunk_size=CHUNK if len(person_ids) > CHUNK else None,
        )
    if config.part_matching_loss_weight:
        losses["part_matching"] = part_matching(
            *parts, config.part_matching_scale, text_part_weights, config.part_matching_loss, pair_weights
        )
    if config.part_independence_loss_weight:
        losses["part_independence"] = part_independence(*parts)
    if config.part_compactness_loss_weight and image_part_spread is not None:
        losses["part_compactness"] = image_part_spread.mean()
    return losses


def sum_losses(config: TBPSConfig, losses: dict[str, torch.Tensor], part_factor: float = 1.0) -> torch.Tensor:
    """Add up loss terms, each times its coefficient in the configuration.

    Args:
        part_factor: further factor of the terms of parts.

    Raises:
        ValueError: there is no term.
    """
    if not losses:
        raise ValueError(
            "The loss has no term: every `_loss_weight` of the configuration is 0, except perhaps that of the instance "
            "loss, which evaluation leaves out; expected one above 0."
        )
    factors = dict.fromkeys(PART_LOSSES, part_factor)
    return torch.stack([
        factors.get(name, 1.0) * getattr(config, f"{name}_loss_weight") * term for name, term in losses.items()
    ]).sum()  # fmt: skip


def check_person_ids(person_ids: torch.Tensor, classes: int | None = None) -> None:
    """Refuse person ids that are not a vector of integers.

    Args:
        classes: number of classes of the instance loss, which the ids must then be; None checks no range.

    Raises:
        ValueError: another type, shape, dtype or range.
    """
    if not isinstance(person_ids, torch.Tensor):
        raise ValueError(f"person_ids must be a LongTensor (B,), one number per pair; got {type(person_ids).__name__}.")
    if person_ids.ndim != 1:
        raise ValueError(f"person_ids of shape {tuple(person_ids.shape)}: expected (B,), one number per pair.")
    if person_ids.is_floating_point() or person_ids.is_complex() or person_ids.dtype == torch.bool:
        raise ValueError(f"person_ids of {person_ids.dtype}: expected a LongTensor (B,), one number per pair.")
    if classes and len(person_ids) and not torch.compiler.is_compiling():  # a graph cannot depend on values
        lowest, highest = (int(bound) for bound in person_ids.aminmax())
        if lowest < 0 or highest >= classes:
            raise ValueError(
                f"person_ids from {lowest} to {highest}, but the instance loss has num_identities={classes} classes: "
                "expected 0 to num_identities - 1, as PersonPairs numbers people."
            )


def check_training(model: Any, person_ids: torch.Tensor) -> None:
    """Check person ids before a loss is computed, and warn if half-precision weights are trained.

    Raises:
        ValueError: see `check_person_ids`.
    """
    check_person_ids(person_ids, model.config.num_identities if model.training and model.id_head is not None else None)
    # with several processes, an engine may show half-precision copies of weights that it keeps in float32
    several = dist.is_available() and dist.is_initialized()
    if several or not model.training or torch.compiler.is_compiling():
        return
    half = next((weight.dtype for weight in model.parameters() if weight.requires_grad and weight.dtype in HALF), None)
    if half is not None:
        logger.warning_once(
            f"Weights of {str(half).removeprefix('torch.')} are trained, which loses small steps. Load the model with "
            "dtype=torch.float32, or train it with TBPSTrainer, which makes them float32."
        )
