"""Losses that match texts with images by one (B, B) table of similarities: SDM, ITC and TAL.

Pairs of one person are positives of each other, never negatives. Similarities are computed in float32 whatever the
precision of the model. `pair_weights` (B,) in [0, 1] says how far each pair is trusted (`pair_weights_tbps`); None is 1
for all.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from .commonality_tbps import EPSILON, same_person
from .pair_weights_tbps import at_least_some, exclude, trusted, weighted_mean


def similarity_distribution_matching(
    similarity: torch.Tensor,
    person_ids: torch.Tensor,
    scale: torch.Tensor | float,
    pair_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """SDM, IRRA (Jiang and Ye, CVPR 2023) eq. 6: KL divergence from the softmax of the scaled similarities to the
    true matching distribution (uniform over the images of the person, normalised by row), both directions summed.

    Args:
        similarity: (B, B), row = text, column = image, cosine in [-1, 1].
        person_ids: (B,). scale: positive factor before the softmax (IRRA: 50). pair_weights: (B,) or None.
    Returns:
        scalar; 0 only where the predicted distributions equal the true ones (up to 1e-8 in the logarithm).
    """
    match = same_person(person_ids)
    log_target = (true_distribution(match, pair_weights) + EPSILON).log()
    logits = similarity.float() * scale

    def divergence(rows: torch.Tensor) -> torch.Tensor:
        log_p = F.log_softmax(exclude(rows, match, pair_weights), dim=1)
        return weighted_mean((log_p.exp() * (log_p - log_target)).sum(dim=1), pair_weights)

    return divergence(logits) + divergence(logits.T)


def true_distribution(match: torch.Tensor, pair_weights: torch.Tensor | None) -> torch.Tensor:
    """(B, B) targets, rows of sum 1 over the pairs of the row's person; the same from text to image and back. A row is
    0 where none of these is trusted."""
    positive = trusted(match, pair_weights)
    return positive / at_least_some(positive.sum(dim=1, keepdim=True))


def image_text_contrast(
    similarity: torch.Tensor,
    person_ids: torch.Tensor,
    scale: torch.Tensor | float,
    pair_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """ITC: CLIP's symmetric InfoNCE with soft targets, uniform over the images of the person. With identities all
    alone it is CLIP's loss exactly.

    Args:
        similarity: (B, B) cosines, row = text. person_ids: (B,). scale: positive factor before the softmax.
        pair_weights: (B,) or None.
    Returns:
        scalar, mean of the two directions; log B where all similarities are equal.
    """
    match = same_person(person_ids)
    target = true_distribution(match, pair_weights)
    logits = similarity.float() * scale

    def direction(rows: torch.Tensor) -> torch.Tensor:
        entropies = F.cross_entropy(exclude(rows, match, pair_weights), target, reduction="none")
        return weighted_mean(entropies, pair_weights)

    return (direction(logits) + direction(logits.T)) / 2


def triplet_alignment(
    similarity: torch.Tensor,
    person_ids: torch.Tensor,
    scale: torch.Tensor | float,
    margin: float = 0.1,
    pair_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """TAL, RDE (Qin et al., CVPR 2024) eq. 7: a triplet loss whose hardest negative is softened to a log-sum-exp over
    all, which a few mislabelled pairs cannot steer alone. The temperature is 1 / scale (RDE: 0.015).

    A mean over the batch, as all losses here. RDE's own code sums over its batch of 64 pairs: the coefficient that
    gives its loss is the number of (trusted) pairs in a batch. At 1 the instance loss, which starts near ln N and not
    near the margin, drowns it.

    Args:
        similarity: (B, B) cosines, row = text. person_ids: (B,). scale: positive. margin: in cosine.
        pair_weights: (B,) or None.
    Returns:
        scalar, both directions summed, mean over anchors; 0 where the batch holds one identity only. With several
        images of a person the positive is their mean, weighted by the softmax of their scaled similarities.
    """
    match = same_person(person_ids)

    def direction(rows: torch.Tensor) -> torch.Tensor:
        nearest = exclude(rows.detach() * scale, match, pair_weights).masked_fill(~match, -torch.inf).softmax(dim=1)
        if pair_weights is not None:
            nearest = nearest * pair_weights[None, :]
            nearest = nearest / at_least_some(nearest.sum(dim=1, keepdim=True))
        positive = (nearest * rows).sum(dim=1)
        negative = (rows * scale).masked_fill(match, -torch.inf).logsumexp(dim=1) / scale
        return weighted_mean((margin - positive + negative).clamp_min(0), pair_weights)

    if match.all():
        return similarity.new_zeros((), dtype=torch.float32)
    similarity = similarity.float()
    return direction(similarity) + direction(similarity.T)


MATCHING: dict[str, Callable[..., torch.Tensor]] = {
    "sdm": similarity_distribution_matching,
    "itc": image_text_contrast,
    "tal": triplet_alignment,
}
