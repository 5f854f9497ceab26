"""Losses that match texts with images by one (B, B) table of similarities: SDM, ITC and TAL.

Pairs of one person are positives of each other, never negatives. Similarities are computed in float32 whatever the
precision of the model.
"""

import torch
import torch.nn.functional as F

from .commonality_tbps import EPSILON, same_person


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


MATCHING = {
    "sdm": similarity_distribution_matching,
    "itc": image_text_contrast,
    "tal": triplet_alignment,
}
