"""Training losses of text-based person search, as pure functions of embeddings, scales and person ids.

B image-text pairs; embeddings have unit norm; `person_ids` (B,) says who is on which pair. Pairs of one person are
positives of each other, never negatives. Similarities are computed in float32 whatever the precision of the model.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .commonality_tbps import COMMONALITY, EPSILON, own_similarity, same_person
from .configuration_tbps import TBPSConfig


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


PART_LOSSES = ("cmr", "part_matching")
GLOBAL_LOSS = {"sdm": similarity_distribution_matching, "itc": image_text_contrast}


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
    return torch.einsum("tkd,ikd->kti", text_parts.float(), image_parts.float())


def part_matching(
    similarity: torch.Tensor,
    person_ids: torch.Tensor,
    scale: torch.Tensor | float,
    part_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """SDM on sum_k a_k s_k (PLOT, Park et al., ECCV 2024, on our decoder): teaches the parts and their text-dependent
    weights by matching whole sets of parts.

    Args:
        similarity: (K, B, B) part cosines, row = text. person_ids: (B,).
        part_weights: (B, K) of the texts, rows sum to 1; None is 1/K each.
    """
    if part_weights is None:
        pooled = similarity.mean(dim=0)
    else:
        pooled = torch.einsum("tk,kti->ti", part_weights.float(), similarity)
    return similarity_distribution_matching(pooled, person_ids, scale)


def commonality_margin(commonality: torch.Tensor, margin: float, floor: float) -> torch.Tensor:
    """m_ak = max(m (1 - c_ak), m_min): a rare part demands the full margin, a common one only the floor."""
    return (margin * (1 - commonality)).clamp_min(floor)


def margin_ranking(similarity: torch.Tensor, person_ids: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
    """Hinge of every anchor with every negative, `max(0, m_ak - s_k(a, positive) + s_k(a, negative))`, averaged over
    the violating ones; the positive is the mean over the images of the anchor's person in the batch.

    Args:
        similarity: (K, B, B), rows are anchors. person_ids: (B,). margin: (K, B), one an anchor and part.
    Returns:
        scalar: mean over parts of the mean over pairs with a positive hinge; 0 where there is no negative.
    """
    positive = own_similarity(similarity, person_ids)[:, :, None]  # (K, B, 1)
    hinge = (similarity - positive + margin[:, :, None]).clamp_min(0)  # (K, B, B)
    hinge = hinge.masked_fill(same_person(person_ids), 0)
    violating = (hinge > 0).sum(dim=(1, 2)).clamp_min(1)
    return (hinge.sum(dim=(1, 2)) / violating).mean()


def commonality_margin_ranking(
    similarity: torch.Tensor,
    person_ids: torch.Tensor,
    margin: float,
    floor: float,
    commonality: str = "mean_similarity",
) -> torch.Tensor:
    """CMR (arXiv 2501.00318): per part, a person's text and image must be more alike than the part of anybody else,
    by a margin that shrinks with the part's commonality. Both directions (text and image anchors) are summed.

    Args:
        similarity: (K, B, B) part cosines, row = text, column = image. person_ids: (B,).
        margin, floor: m and m_min, in cosine. commonality: a key of `COMMONALITY`.
    Returns:
        scalar; 0 where the batch holds one identity only.
    """
    estimate = COMMONALITY[commonality]

    def direction(anchored: torch.Tensor) -> torch.Tensor:
        common = estimate(anchored.detach(), person_ids)  # how common a part is, is observed, not learned
        return margin_ranking(anchored, person_ids, commonality_margin(common, margin, floor))

    return direction(similarity) + direction(similarity.transpose(1, 2))


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
        {"global", "id", "cmr", "part_matching"}, less those of coefficient 0. The name times `_loss_weight` of the
        configuration is the coefficient.
    """
    losses = {}
    if config.global_loss_weight:
        losses["global"] = GLOBAL_LOSS[config.global_loss](text_global @ image_global.T, person_ids, scale)
    if config.id_loss_weight and id_head is not None:
        # unit vectors are too short for a softmax over thousands of people: stretch them to norm sqrt(D)
        factor = text_global.shape[1] ** 0.5
        losses["id"] = instance_loss(id_head(factor * text_global), id_head(factor * image_global), person_ids)
    if config.cmr_loss_weight or config.part_matching_loss_weight:
        similarity = part_similarity(text_parts, image_parts)
        if config.cmr_loss_weight:
            losses["cmr"] = commonality_margin_ranking(
                similarity, person_ids, config.cmr_margin, config.cmr_margin_floor, config.commonality
            )
        if config.part_matching_loss_weight:
            losses["part_matching"] = part_matching(similarity, person_ids, scale, text_part_weights)
    return losses
