"""The training loss of text-based person search: all terms that a configuration asks for, as pure functions.

B image-text pairs; embeddings have unit norm; `person_ids` (B,) says who is on which pair.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .commonality_tbps import weighted_mean
from .configuration_tbps import TBPSConfig
from .matching_losses_tbps import MATCHING, part_independence, part_matching
from .ranking_loss_tbps import commonality_margin_ranking

CHUNK = 512  # anchors of the ranking loss at a time: B = 4096, K = 8 then needs under 1 GiB
PART_LOSSES = ("cmr", "part_matching", "part_independence", "part_compactness")


def instance_loss(
    text_logits: torch.Tensor,
    image_logits: torch.Tensor,
    person_ids: torch.Tensor,
    pair_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """ID loss (Zheng et al., "Dual-Path Convolutional Image-Text Embeddings with Instance Loss", TOMM 2020): both
    modalities are classified into the N training identities by one head.

    Args:
        text_logits, image_logits: (B, N). person_ids: (B,) in 0..N-1. pair_weights: (B,) or None.
    Returns:
        scalar, mean of the two cross entropies.
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
    """The terms of the training loss that the configuration asks for, unweighted, by name.

    Args:
        text_global, image_global: (B, D). text_parts, image_parts: (B, K, d). All of unit norm.
        person_ids: (B,). scale: scalar, similarity scale of the global loss.
        text_part_weights, image_part_spread: (B, K) or None. id_head: classifier of the N training identities, or None.
        pair_weights: (B,) in [0, 1], how far each pair is trusted (`commonality_tbps`); None is 1 for all.
    Returns:
        {"global", "id", "cmr", "part_matching", "part_independence", "part_compactness"}, less those of coefficient 0.
        The name times `_loss_weight` of the configuration is the coefficient.
    """
    losses = {}
    if config.global_loss_weight:
        matching = MATCHING[config.global_loss]
        losses["global"] = matching(text_global @ image_global.T, person_ids, scale, pair_weights=pair_weights)
    if config.id_loss_weight and id_head is not None:
        # unit vectors are too short for a softmax over thousands of people: stretch them to norm sqrt(D)
        factor = text_global.shape[1] ** 0.5
        text, image = (id_head((factor * side).to(id_head.weight.dtype)) for side in (text_global, image_global))
        losses["id"] = instance_loss(text, image, person_ids, pair_weights)
    if config.cmr_loss_weight:
        losses["cmr"] = commonality_margin_ranking(
            text_parts,
            image_parts,
            person_ids,
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
            text_parts,
            image_parts,
            person_ids,
            config.part_matching_scale,
            text_part_weights,
            config.part_matching_loss,
            pair_weights,
        )
    if config.part_independence_loss_weight:
        losses["part_independence"] = part_independence(text_parts, image_parts, person_ids)
    if config.part_compactness_loss_weight and image_part_spread is not None:
        losses["part_compactness"] = image_part_spread.mean()
    return losses
