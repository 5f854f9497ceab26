"""Losses of all parts together: matching by their weighted sum, independence of one part from another, and how far
the attention of each is spread.

Neither needs the (K, B, B) similarities of all parts: memory grows with B squared at most once, not K times.
"""

import torch

from .commonality_tbps import same_person
from .matching_tbps import MATCHING


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
