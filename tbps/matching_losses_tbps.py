"""Losses that match texts with images: by a (B, B) table of similarities (SDM, ITC, TAL), and by parts.

Pairs of one person are positives of each other, never negatives. Similarities are computed in float32, whatever the
precision of the model.

`pair_weights` (B,) in [0, 1] says how far each pair is trusted; None trusts all. A pair of weight w counts w times as
an anchor, and w times as a positive of the other pairs of its person. At weight 0 a pair is not a positive of any pair.
It is not a negative of its own person either, whose image it may show, but it stays a negative of everybody else: a
caption on the wrong image does describe somebody, and rarely the person it is compared with.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

EPSILON = 1e-8
MASKED_LOGIT = -1e4  # vanishes in a float32 softmax, and is finite: 0 times it is 0


# -- pairs, people and weights


def same_person(person_ids: torch.Tensor) -> torch.Tensor:
    """Compare person ids (B,) with each other: (B, B) bool, True where row and column are one person."""
    return person_ids[:, None] == person_ids[None, :]


def nonzero_or_one(total: torch.Tensor) -> torch.Tensor:
    """Replace sums of weights that are 0 by 1, so that they can divide."""
    return torch.where(total > 0, total, 1)


def weighted_mean(values: torch.Tensor, pair_weights: torch.Tensor | None) -> torch.Tensor:
    """Average values over pairs, each by its weight: (..., B) -> (...), 0 if all weights are 0.

    The divisor is the sum of the weights, so that the loss does not shrink as fewer pairs are trusted.
    """
    if pair_weights is None:
        return values.mean(dim=-1)
    return (values * pair_weights).sum(dim=-1) / nonzero_or_one(pair_weights.sum())


def positive_weights(match: torch.Tensor, pair_weights: torch.Tensor | None) -> torch.Tensor:
    """Weights of the columns as positives of the rows, from `match` (A, B), which is True where they are one person."""
    return match.float() if pair_weights is None else match * pair_weights[None, :]


def mask_distrusted(logits: torch.Tensor, match: torch.Tensor, pair_weights: torch.Tensor | None) -> torch.Tensor:
    """Mask the logits (A, B) of columns that are neither a positive nor a negative of their row."""
    return logits if pair_weights is None else logits.masked_fill(match & (pair_weights == 0)[None, :], MASKED_LOGIT)


def target_distribution(match: torch.Tensor, pair_weights: torch.Tensor | None) -> torch.Tensor:
    """Targets (B, B), in each row uniform over the trusted pairs of its person; 0 in a row without any."""
    positive = positive_weights(match, pair_weights)
    return positive / nonzero_or_one(positive.sum(dim=1, keepdim=True))


# -- losses of a table of similarities


def similarity_distribution_matching(
    similarity: torch.Tensor,
    person_ids: torch.Tensor,
    scale: torch.Tensor | float,
    pair_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """SDM, IRRA (Jiang and Ye, CVPR 2023) eq. 6: KL divergence from predicted to true matching distribution.

    The prediction is the softmax of the scaled similarities. The target is uniform over the images of the person. The
    losses of both directions are added.

    Args:
        similarity: (B, B) cosines, a row per text, a column per image.
        person_ids: (B,).
        scale: positive factor before the softmax (IRRA: 50).
        pair_weights: (B,) or None.

    Returns:
        Scalar; 0 only if the prediction equals the target (up to 1e-8 in the logarithm).
    """
    match = same_person(person_ids)
    log_target = (target_distribution(match, pair_weights) + EPSILON).log()
    logits = similarity.float() * scale

    def divergence(rows: torch.Tensor) -> torch.Tensor:
        log_p = F.log_softmax(mask_distrusted(rows, match, pair_weights), dim=1)
        return weighted_mean((log_p.exp() * (log_p - log_target)).sum(dim=1), pair_weights)

    return divergence(logits) + divergence(logits.T)


def image_text_contrast(
    similarity: torch.Tensor,
    person_ids: torch.Tensor,
    scale: torch.Tensor | float,
    pair_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """ITC: CLIP's symmetric InfoNCE with soft targets, uniform over the images of the person.

    If each person has one pair in the batch, it is exactly CLIP's loss.

    Args:
        similarity: (B, B) cosines, a row per text.
        person_ids: (B,).
        scale: positive factor before the softmax.
        pair_weights: (B,) or None.

    Returns:
        Scalar, mean of the two directions; log B if all similarities are equal.
    """
    match = same_person(person_ids)
    target = target_distribution(match, pair_weights)
    logits = similarity.float() * scale

    def direction(rows: torch.Tensor) -> torch.Tensor:
        entropies = F.cross_entropy(mask_distrusted(rows, match, pair_weights), target, reduction="none")
        return weighted_mean(entropies, pair_weights)

    return (direction(logits) + direction(logits.T)) / 2


def triplet_alignment(
    similarity: torch.Tensor,
    person_ids: torch.Tensor,
    scale: torch.Tensor | float,
    margin: float = 0.1,
    pair_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """TAL, RDE (Qin et al., CVPR 2024) eq. 7: a triplet loss with a log-sum-exp over all negatives.

    The log-sum-exp softens the hardest negative, so that a few mislabelled pairs cannot steer the loss alone. The
    temperature is 1 / scale (RDE: 0.015). With several images of a person, the positive is their mean, weighted by the
    softmax of their scaled similarities.

    Like all losses here it is a mean over the batch. RDE's own code sums over its batch of 64 pairs, so a coefficient
    equal to the number of (trusted) pairs in a batch gives its loss. With a coefficient of 1 the instance loss, which
    starts near ln N, outweighs it.

    Args:
        similarity: (B, B) cosines, a row per text.
        person_ids: (B,).
        scale: positive.
        margin: in cosine.
        pair_weights: (B,) or None.

    Returns:
        Scalar, sum of the two directions, mean over anchors; 0 if the batch has only one identity.
    """
    match = same_person(person_ids)

    def direction(rows: torch.Tensor) -> torch.Tensor:
        logits = mask_distrusted(rows.detach() * scale, match, pair_weights)
        nearest = logits.masked_fill(~match, -torch.inf).softmax(dim=1)
        if pair_weights is not None:
            nearest = nearest * pair_weights[None, :]
            nearest = nearest / nonzero_or_one(nearest.sum(dim=1, keepdim=True))
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


# -- losses of all parts together, without the (K, B, B) similarities of each: memory grows with B squared once at most


def part_matching(
    text_parts: torch.Tensor,
    image_parts: torch.Tensor,
    person_ids: torch.Tensor,
    scale: torch.Tensor | float,
    part_weights: torch.Tensor | None = None,
    loss: str = "sdm",
    pair_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Match sets of parts: SDM or another loss on sum_k a_k s_k (PLOT, Park et al., ECCV 2024, on our decoder).

    It trains the parts and their text-dependent weights a_k.

    Args:
        text_parts, image_parts: (B, K, d), unit norm.
        person_ids: (B,).
        scale: positive factor of the similarities.
        part_weights: (B, K) a_k of the texts, rows sum to 1; None is 1/K each.
        loss: key of `MATCHING`.
        pair_weights: (B,) or None.
    """
    text_parts, image_parts = text_parts.float(), image_parts.float()
    weighted = (
        text_parts / text_parts.shape[1] if part_weights is None else text_parts * part_weights.float()[:, :, None]
    )
    return MATCHING[loss](weighted.flatten(1) @ image_parts.flatten(1).T, person_ids, scale, pair_weights=pair_weights)


def part_independence(text_parts: torch.Tensor, image_parts: torch.Tensor, person_ids: torch.Tensor) -> torch.Tensor:
    """Mean squared correlation of the cosines of two parts over all pairs of different people.

    Under a ranking or matching loss alone, every part can end up reading the full person. Minimising this makes parts
    differ: shoes say little about a hat, so parts that look at different things have uncorrelated cosines, and parts
    that look at the same thing have correlated ones (the idea of Barlow Twins, Zbontar et al., ICML 2021, on
    similarities). Pairs of one person do not count, so a caption on the wrong image does no harm.

    Args:
        text_parts, image_parts: (B, K, d), unit norm.
        person_ids: (B,).

    Returns:
        Scalar in [0, 1]; 0 for one part, or for a batch with fewer than two pairs of different people.
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
    """Sum s_k(t, i) s_l(t, i) over all B squared pairs (t, i), for all parts k and l: (K, K).

    It computes no similarity. With s_k = <t_k, i_k>, the sum is <sum_t t_k t_l^T, sum_i i_k i_l^T>.
    """
    text, image = (torch.einsum("bkc,bld->klcd", parts, parts) for parts in (text_parts, image_parts))
    return (text * image).sum(dim=(2, 3))


def part_spread(attention: torch.Tensor) -> torch.Tensor:
    """Variance of the position that each part looks at in an image, vertical plus horizontal.

    The unit is the squared height of the image. The mean over a batch is the compactness loss: a part of a person is in
    one place (the concentration loss of SCOPS, Hung et al., CVPR 2019, on attention).

    Args:
        attention: (B, K, rows, columns) of square patches; each map sums to 1.

    Returns:
        (B, K) float32, 0 for a part that looks at a single patch.
    """
    attention = attention.float()
    rows, columns = attention.shape[-2:]
    spread = attention.new_zeros(attention.shape[:2])
    for size, along in ((rows, attention.sum(dim=3)), (columns, attention.sum(dim=2))):
        position = torch.arange(size, device=along.device) / rows
        mean = (along * position).sum(dim=-1, keepdim=True)
        spread = spread + (along * (position - mean).square()).sum(dim=-1)
    return spread
