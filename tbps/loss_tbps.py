"""Training losses of text-based person search, as pure functions of embeddings, scales and person ids.

B image-text pairs; embeddings have unit norm; `person_ids` (B,) says who is on which pair. Pairs of one person are
positives of each other, never negatives. Similarities are computed in float32 whatever the precision of the model.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .commonality_tbps import EPSILON, cosines, same_person
from .configuration_tbps import TBPSConfig
from .ranking_tbps import commonality_margin_ranking


def similarity_distribution_matching(
    similarity: torch.Tensor, person_ids: torch.Tensor, scale: torch.Tensor | float
) -> torch.Tensor:
    """SDM, IRRA (Jiang and Ye, CVPR 2023) eq. 6: KL divergence from the softmax of the scaled similarities to the
    true matching distribution (uniform over the images of the person, normalised by row), both directions summed.

    Args:
        similarity: (B, B), row = text, column = image, cosine in [-1, 1].
        person_ids: (B,). scale: positive factor before the softmax (IRRA: 50).
    Returns:
        scalar; 0 only where the predicted distributions equal the true ones (up to 1e-8 in the logarithm).
    """
    match = same_person(person_ids).to(torch.float32)
    log_target = (match / match.sum(dim=1, keepdim=True) + EPSILON).log()  # (B, B), symmetric in its arguments
    logits = similarity.float() * scale

    def divergence(rows: torch.Tensor) -> torch.Tensor:
        log_p = F.log_softmax(rows, dim=1)
        return (log_p.exp() * (log_p - log_target)).sum(dim=1).mean()

    return divergence(logits) + divergence(logits.T)


def image_text_contrast(
    similarity: torch.Tensor, person_ids: torch.Tensor, scale: torch.Tensor | float
) -> torch.Tensor:
    """ITC: CLIP's symmetric InfoNCE with soft targets, uniform over the images of the person. With identities all
    alone it is CLIP's loss exactly.

    Args:
        similarity: (B, B) cosines, row = text. person_ids: (B,). scale: positive factor before the softmax.
    Returns:
        scalar, mean of the two directions; log B where all similarities are equal.
    """
    match = same_person(person_ids).to(torch.float32)
    target = match / match.sum(dim=1, keepdim=True)
    logits = similarity.float() * scale
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def triplet_alignment(
    similarity: torch.Tensor, person_ids: torch.Tensor, scale: torch.Tensor | float, margin: float = 0.1
) -> torch.Tensor:
    """TAL, RDE (Qin et al., CVPR 2024) eq. 7: a triplet loss whose hardest negative is softened to a log-sum-exp over
    all, which a few mislabelled pairs cannot steer alone. The temperature is 1 / scale (RDE: 0.015).

    Args:
        similarity: (B, B) cosines, row = text. person_ids: (B,). scale: positive. margin: in cosine.
    Returns:
        scalar, both directions summed, mean over anchors; 0 where the batch holds one identity only. With several
        images of a person the positive is their mean, weighted by the softmax of their scaled similarities.
    """
    match = same_person(person_ids)

    def direction(rows: torch.Tensor) -> torch.Tensor:
        weights = (rows.detach() * scale).masked_fill(~match, -torch.inf).softmax(dim=1)
        positive = (weights * rows).sum(dim=1)
        negative = (rows * scale).masked_fill(match, -torch.inf).logsumexp(dim=1) / scale
        return (margin - positive + negative).clamp_min(0).mean()

    if match.all():
        return similarity.new_zeros((), dtype=torch.float32)
    similarity = similarity.float()
    return direction(similarity) + direction(similarity.T)


CHUNK = 512  # anchors of the ranking loss at a time: B = 4096, K = 8 then needs under 1 GiB
PART_LOSSES = ("cmr", "part_matching", "part_independence")
GLOBAL_LOSS = {
    "sdm": similarity_distribution_matching,
    "itc": image_text_contrast,
    "tal": triplet_alignment,
}


def instance_loss(text_logits: torch.Tensor, image_logits: torch.Tensor, person_ids: torch.Tensor) -> torch.Tensor:
    """ID loss (Zheng et al., "Dual-Path Convolutional Image-Text Embeddings with Instance Loss", TOMM 2020): both
    modalities are classified into the N training identities by one head.

    Args:
        text_logits, image_logits: (B, N). person_ids: (B,) in 0..N-1.
    Returns:
        scalar, mean of the two cross entropies.
    """
    return (F.cross_entropy(text_logits.float(), person_ids) + F.cross_entropy(image_logits.float(), person_ids)) / 2


def part_similarity(text_parts: torch.Tensor, image_parts: torch.Tensor) -> torch.Tensor:
    """(B, K, d) unit parts of texts and of images -> (K, B, B) cosines, row = text, column = image."""
    return cosines(text_parts.float(), image_parts.float())


def part_matching(
    similarity: torch.Tensor,
    person_ids: torch.Tensor,
    scale: torch.Tensor | float,
    part_weights: torch.Tensor | None = None,
    loss: str = "sdm",
) -> torch.Tensor:
    """SDM (or another loss) on sum_k a_k s_k (PLOT, Park et al., ECCV 2024, on our decoder): teaches the parts and
    their text-dependent weights by matching whole sets of parts.

    Args:
        similarity: (K, B, B) part cosines, row = text. person_ids: (B,).
        part_weights: (B, K) of the texts, rows sum to 1; None is 1/K each. loss: a key of `GLOBAL_LOSS`.
    """
    if part_weights is None:
        pooled = similarity.mean(dim=0)
    else:
        pooled = torch.einsum("tk,kti->ti", part_weights.float(), similarity)
    return GLOBAL_LOSS[loss](pooled, person_ids, scale)


def part_independence(similarity: torch.Tensor, person_ids: torch.Tensor) -> torch.Tensor:
    """Mean squared correlation of two parts' cosines over all pairs of different people: what makes parts differ.

    A ranking or matching loss lets every part read the whole person. What people wear on their feet says little of
    what they wear on their head, so parts that look at different things have uncorrelated cosines, and parts that look
    at the same have correlated ones (the idea of Barlow Twins, Zbontar et al., ICML 2021, on similarities).

    Args:
        similarity: (K, B, B) part cosines, row = text. person_ids: (B,).
    Returns:
        scalar in [0, 1]; 0 for one part, or where the batch holds fewer than two pairs of different people.
    """
    parts = len(similarity)
    negatives = similarity[:, ~same_person(person_ids)]  # (K, pairs)
    if parts == 1 or negatives.shape[1] < 2:
        return similarity.new_zeros(())
    correlation = F.normalize(negatives - negatives.mean(dim=1, keepdim=True), dim=1)
    squares = (correlation @ correlation.T).square()  # (K, K)
    return (squares.sum() - squares.diagonal().sum()) / (parts * (parts - 1))


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
    id_head: nn.Linear | None = None,
) -> dict[str, torch.Tensor]:
    """The terms of the training loss that the configuration asks for, unweighted, by name.

    Args:
        text_global, image_global: (B, D). text_parts, image_parts: (B, K, d). All of unit norm.
        person_ids: (B,). scale: scalar, similarity scale of the global loss.
        text_part_weights: (B, K) or None. id_head: classifier of the N training identities, or None.
    Returns:
        {"global", "id", "cmr", "part_matching", "part_independence"}, less those of coefficient 0. The name times
        `_loss_weight` of the configuration is the coefficient.
    """
    losses = {}
    if config.global_loss_weight:
        losses["global"] = GLOBAL_LOSS[config.global_loss](text_global @ image_global.T, person_ids, scale)
    if config.id_loss_weight and id_head is not None:
        # unit vectors are too short for a softmax over thousands of people: stretch them to norm sqrt(D)
        factor = text_global.shape[1] ** 0.5
        losses["id"] = instance_loss(id_head(factor * text_global), id_head(factor * image_global), person_ids)
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
            chunk_size=CHUNK if len(person_ids) > CHUNK else None,
        )
    if config.part_matching_loss_weight or config.part_independence_loss_weight:
        similarity = part_similarity(text_parts, image_parts)
        if config.part_matching_loss_weight:
            losses["part_matching"] = part_matching(
                similarity, person_ids, config.part_matching_scale, text_part_weights, config.part_matching_loss
            )
        if config.part_independence_loss_weight:
            losses["part_independence"] = part_independence(similarity, person_ids)
    return losses
