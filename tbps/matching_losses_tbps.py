"""Losses that match texts with images by one (B, B) table of similarities: SDM, ITC and TAL.

Pairs of one person are positives of each other, never negatives. Similarities are computed in float32 whatever the
precision of the model. `pair_weights` (B,) in [0, 1] says how far each pair is trusted (`commonality_tbps`); None is 1
for all.

Losses of all parts together: matching by their weighted sum, independence of one part from another, and how far
the attention of each is spread.

Neither needs the (K, B, B) similarities of all parts: memory grows with B squared at most once, not K times.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from .commonality_tbps import EPSILON, at_least_some, exclude, same_person, trusted, weighted_mean


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


def part_matching(
    text_parts: torch.Tensor,
    image_parts: torch.Tensor,
    person_ids: torch.Tensor,
    scale: torch.Tensor | float,
    part_weights: torch.Tensor | None = None,
    loss: str = "sdm",
    pair_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """SDM (or another loss) on sum_k a_k s_k (PLOT, Park et al., ECCV 2024, on our decoder): teaches the parts and
    their text-dependent weights by matching whole sets of parts.

    Args:
        text_parts, image_parts: (B, K, d), unit norm. person_ids: (B,).
        part_weights: (B, K) of the texts, rows sum to 1; None is 1/K each. loss: a key of `MATCHING`.
        pair_weights: (B,), how far each pair is trusted, or None.
    """
    text_parts, image_parts = text_parts.float(), image_parts.float()
    weighted = (
        text_parts / text_parts.shape[1] if part_weights is None else text_parts * part_weights.float()[:, :, None]
    )
    return MATCHING[loss](weighted.flatten(1) @ image_parts.flatten(1).T, person_ids, scale, pair_weights=pair_weights)


def part_independence(text_parts: torch.Tensor, image_parts: torch.Tensor, person_ids: torch.Tensor) -> torch.Tensor:
    """Mean squared correlation of two parts' cosines over all pairs of different people: what makes parts differ.

    A ranking or matching loss lets every part read the whole person. What people wear on their feet says little of
    what they wear on their head, so parts that look at different things have uncorrelated cosines, and parts that look
    at the same have correlated ones (the idea of Barlow Twins, Zbontar et al., ICML 2021, on similarities).
    It looks at no pair of one person, so that a caption at the wrong image does it no harm.

    Args:
        text_parts, image_parts: (B, K, d), unit norm. person_ids: (B,).
    Returns:
        scalar in [0, 1]; 0 for one part, or where the batch holds fewer than two pairs of different people.
    """
    count = text_parts.shape[1]
    text, image = same_person(person_ids).nonzero(as_tuple=True)  # pairs of one person, which do not count
    pairs = len(person_ids) ** 2 - len(text)
    if count == 1 or pairs < 2:
        return text_parts.new_zeros((), dtype=torch.float32)
    precision = torch.float32 if text_parts.device.type == "mps" else torch.float64  # differences of large sums
    text_parts, image_parts = text_parts.to(precision), image_parts.to(precision)
    own = (text_parts[text] * image_parts[image]).sum(dim=2)  # (P, K)
    means = ((text_parts.sum(dim=0) * image_parts.sum(dim=0)).sum(dim=1) - own.sum(dim=0)) / pairs  # (K,)
    products = (sum_of_products(text_parts, image_parts) - own.T @ own) / pairs  # (K, K)
    covariance = products - means[:, None] * means[None, :]
    deviation = covariance.diagonal().clamp_min(1e-12).sqrt()
    squares = (covariance / (deviation[:, None] * deviation[None, :])).square()
    return ((squares.sum() - squares.diagonal().sum()) / (count * (count - 1))).float()


def sum_of_products(text_parts: torch.Tensor, image_parts: torch.Tensor) -> torch.Tensor:
    """(K, K): the sum over all B squared pairs (t, i) of s_k(t, i) s_l(t, i), without a similarity of any pair: with
    s_k = <t_k, i_k> it is the inner product of sum_t t_k t_l^T and sum_i i_k i_l^T."""
    text, image = (torch.einsum("bkc,bld->klcd", parts, parts) for parts in (text_parts, image_parts))
    return (text * image).sum(dim=(2, 3))


def part_spread(attention: torch.Tensor) -> torch.Tensor:
    """How far each part's attention to an image is spread: the variance of the place that it looks at, the sum of its
    two directions, in squared heights of the picture. Its mean over a batch is the compactness loss: a part of a person
    is in one place (the concentration loss of SCOPS, Hung et al., CVPR 2019, on attention).

    Args:
        attention: (B, K, rows, columns) of square patches, each map summing to 1.
    Returns:
        (B, K) float32, 0 where a part looks at a single patch.
    """
    attention = attention.float()
    rows, columns = attention.shape[-2:]
    spread = attention.new_zeros(attention.shape[:2])
    for size, along in ((rows, attention.sum(dim=3)), (columns, attention.sum(dim=2))):
        place = torch.arange(size, device=along.device) / rows
        mean = (along * place).sum(dim=-1, keepdim=True)
        spread = spread + (along * (place - mean).square()).sum(dim=-1)
    return spread
