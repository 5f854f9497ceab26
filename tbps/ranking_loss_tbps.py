"""Commonality-based margin ranking loss (CMR, arXiv 2501.00318) of part embeddings, at once or in chunks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from .commonality_tbps import (
    TEMPERATURE,
    AnchorRows,
    Estimate,
    batch_positive_mean,
    find_estimate,
    positive_cosine,
)
from .matching_losses_tbps import nonzero_or_one

Reduced = tuple[torch.Tensor, torch.Tensor]  # (K, A) loss of each anchor, (K, A) how many hinges it counts
Block = tuple[torch.Tensor, torch.Tensor]  # (K,) sum of the hinges, (K,) how many there are
NO_HINGE = -1e3  # a value that no margin lifts above 0; finite, because a row of infinities has no gradient


def commonality_margin(commonality: torch.Tensor, margin: float, floor: float) -> torch.Tensor:
    """Margin m_ak = max(m (1 - c_ak), m_min): the full margin for a rare part, less for a common one."""
    return (margin * (1 - commonality)).clamp_min(floor)


def mean_positive(rows: AnchorRows) -> torch.Tensor:
    """Mean cosine of each anchor and the candidates of its person: (K, A)."""
    return rows.positive_mean


def hardest_positive(rows: AnchorRows) -> torch.Tensor:
    """Lowest cosine of each anchor and a candidate of its person: (K, A)."""
    return rows.similarity.masked_fill(rows.positives == 0, torch.inf).amin(dim=2)


def easiest_positive(rows: AnchorRows) -> torch.Tensor:
    """Highest cosine of each anchor and a candidate of its person: (K, A)."""
    return rows.similarity.masked_fill(rows.positives == 0, -torch.inf).amax(dim=2)


def violating(hinge: torch.Tensor, margin: torch.Tensor) -> Reduced:
    """Count every negative within the margin: hinges (K, A, B), margins (K, A, 1 or B)."""
    return sum_masked(hinge, hinge > 0)


def semi_hard(hinge: torch.Tensor, margin: torch.Tensor) -> Reduced:
    """Count negatives within the margin that score below the positive (FaceNet, Schroff et al., CVPR 2015)."""
    return sum_masked(hinge, (hinge > 0) & (hinge < margin))


def hardest(hinge: torch.Tensor, margin: torch.Tensor) -> Reduced:
    """Count the negative with the highest score, if it is within the margin. It often looks the same in this part."""
    return sum_masked(hinge, (hinge > 0) & (hinge == hinge.amax(dim=2, keepdim=True)))


def softened(hinge: torch.Tensor, margin: torch.Tensor) -> Reduced:
    """Combine all negatives of an anchor: tau log(1 + sum_n exp(h_n / tau)), with tau = `TEMPERATURE`.

    This is the hardest hinge made smooth, as in TAL (Qin et al., CVPR 2024). Every anchor counts once. Unlike the mean
    over violating negatives, it cannot settle at the margin with all parts alike.
    """
    loss = TEMPERATURE * F.softplus((hinge / TEMPERATURE).logsumexp(dim=2))
    return loss, torch.ones_like(loss)


def sum_masked(hinge: torch.Tensor, counted: torch.Tensor) -> Reduced:
    """Sum the counted hinges of each anchor, and count them."""
    return (hinge * counted).sum(dim=2), counted.sum(dim=2)


POSITIVES: dict[str, Callable[[AnchorRows], torch.Tensor]] = {
    "mean": mean_positive,
    "hardest": hardest_positive,
    "easiest": easiest_positive,
}
NEGATIVES: dict[str, Callable[[torch.Tensor, torch.Tensor], Reduced]] = {
    "violating": violating,
    "semi_hard": semi_hard,
    "hardest": hardest,
    "softened": softened,
}


def commonality_margin_ranking(
    text_parts: torch.Tensor,
    image_parts: torch.Tensor,
    person_ids: torch.Tensor,
    margin: float,
    floor: float,
    commonality: str = "all_views",
    *,
    positives: str = "mean",
    negatives: str = "violating",
    pair_weights: torch.Tensor | None = None,
    chunk_size: int | None = None,
) -> torch.Tensor:
    """CMR (arXiv 2501.00318): hinges max(0, m_ak - s_k(a, positive) + s_k(a, negative)) for each part k and anchor a.

    m_ak = max(m (1 - c_ak), m_min). A person's text and image must be more alike than the part of anybody else, by a
    margin that shrinks as the part gets more common. The losses of text anchors and image anchors are added.

    Args:
        text_parts, image_parts: (B, K, d), unit norm.
        person_ids: (B,).
        margin, floor: m and m_min, in cosine.
        commonality: name of the estimate of c in `COMMONALITY`. No gradient flows through it.
        positives: key of `POSITIVES`: which image sets s_k(a, positive) if the batch has several of a person.
        negatives: key of `NEGATIVES`: which negatives count.
        pair_weights: (B,) in [0, 1], trust in each pair (see `matching_losses_tbps`); None trusts all.
        chunk_size: anchors at a time. The backward pass computes the similarities of each chunk again, so that memory
            grows with chunk_size * B, not with B squared. None takes all anchors at once.

    Returns:
        Scalar: mean over parts of the mean over counted hinges (for "softened": over anchors). 0 if the batch has only
        one identity.

    Raises:
        ValueError: `commonality` is not registered.
    """
    settings = RankingSettings(margin, floor, find_estimate(commonality), POSITIVES[positives], NEGATIVES[negatives])
    text_parts, image_parts = text_parts.float(), image_parts.float()
    cosine = positive_cosine(text_parts.detach(), image_parts.detach(), person_ids, pair_weights)  # (K, B)
    batch_mean = batch_positive_mean(cosine, person_ids, pair_weights)  # (K,)
    size = chunk_size or max(len(person_ids), 1)
    loss = text_parts.new_zeros(())
    for same_modality, other_modality in ((text_parts, image_parts), (image_parts, text_parts)):
        batch = {
            "same_modality": same_modality,
            "other_modality": other_modality,
            "person_ids": person_ids,
            "batch_positive_mean": batch_mean,
            "pair_weights": pair_weights,
        }
        loss = loss + one_direction(settings, size, batch)
    return loss


@dataclass(frozen=True)
class RankingSettings:
    """Margins and choices of the ranking loss."""

    margin: float
    floor: float
    estimate: Estimate
    positive: Callable[[AnchorRows], torch.Tensor]
    reduce: Callable[[torch.Tensor, torch.Tensor], Reduced]


def one_direction(settings: RankingSettings, size: int, batch: dict[str, Any]) -> torch.Tensor:
    """Compute the loss of one modality's anchors, `size` at a time.

    Args:
        batch: the fields of `AnchorRows` that describe the batch.
    """
    count = len(batch["person_ids"])
    blocks: list[Block] = []
    for start in range(0, max(count, 1), size):
        chunk = slice(start, start + size)
        inputs = {
            **batch,
            "anchors": batch["same_modality"][chunk],
            "partners": batch["other_modality"][chunk],
            "anchor_ids": batch["person_ids"][chunk],
            "anchor_weights": None if batch["pair_weights"] is None else batch["pair_weights"][chunk],
        }
        if size >= count:
            blocks.append(hinge_block(settings, **inputs))
        else:
            blocks.append(checkpoint(hinge_block, settings, use_reentrant=False, **inputs))
    sums, counts = (torch.stack(values).sum(dim=0) for values in zip(*blocks, strict=True))
    return (sums / nonzero_or_one(counts)).mean()


def hinge_block(settings: RankingSettings, *, anchor_weights: torch.Tensor | None, **tensors: torch.Tensor) -> Block:
    """Sum the hinges of A anchors against all B candidates, and count them.

    Args:
        anchor_weights: (A,) weight of each anchor's hinges; None is 1.
        tensors: fields of `AnchorRows`, which is built here because its products are too large to keep for all chunks.
    """
    rows = AnchorRows(**tensors)
    required = commonality_margin(settings.estimate(rows.detach()), settings.margin, settings.floor)
    if required.ndim == 2:
        required = required[:, :, None]  # (K, A, 1)
    hinge = rows.similarity - settings.positive(rows)[:, :, None] + required  # (K, A, B)
    ignored = rows.match  # images of the anchor's own person are not negatives
    if anchor_weights is not None:
        ignored = ignored | (anchor_weights == 0)[:, None]
    losses, counts = settings.reduce(hinge.masked_fill(ignored, NO_HINGE), required)
    if anchor_weights is not None:
        losses, counts = losses * anchor_weights, counts * anchor_weights
    return losses.sum(dim=1), counts.sum(dim=1)
