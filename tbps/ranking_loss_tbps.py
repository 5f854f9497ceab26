"""Commonality-based margin ranking (CMR, arXiv 2501.00318) of part embeddings, plain and in chunks."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from .commonality_tbps import COMMONALITY, TEMPERATURE, AnchorRows, Estimate, at_least_some, batch_own, own_cosine

Reduced = tuple[torch.Tensor, torch.Tensor]  # (K, A) loss of each anchor, (K, A) how many times it counts
Block = tuple[torch.Tensor, torch.Tensor]  # (K,) sum of the hinges, (K,) how many there are
NEVER = -1e3  # a hinge that no margin reaches; finite, as a row of infinities has no gradient


def commonality_margin(commonality: torch.Tensor, margin: float, floor: float) -> torch.Tensor:
    """m_ak = max(m (1 - c_ak), m_min): a rare part demands the full margin, a common one only the floor."""
    return (margin * (1 - commonality)).clamp_min(floor)


def mean_positive(rows: AnchorRows) -> torch.Tensor:
    """Mean cosine to the candidates of the anchor's person: (K, A)."""
    return rows.own


def hardest_positive(rows: AnchorRows) -> torch.Tensor:
    """The least alike of them: (K, A)."""
    return rows.similarity.masked_fill(rows.positives == 0, torch.inf).amin(dim=2)


def easiest_positive(rows: AnchorRows) -> torch.Tensor:
    """The most alike of them: (K, A)."""
    return rows.similarity.masked_fill(rows.positives == 0, -torch.inf).amax(dim=2)


def violating(hinge: torch.Tensor, margin: torch.Tensor) -> Reduced:
    """Every negative within the margin: of the hinges (K, A, B) and margins (K, A, 1 or B)."""
    return of_those(hinge, hinge > 0)


def semi_hard(hinge: torch.Tensor, margin: torch.Tensor) -> Reduced:
    """Within the margin and yet less alike than the positive (FaceNet, Schroff et al., CVPR 2015)."""
    return of_those(hinge, (hinge > 0) & (hinge < margin))


def hardest(hinge: torch.Tensor, margin: torch.Tensor) -> Reduced:
    """The most alike negative of each anchor, if within the margin: often one that really looks the same."""
    return of_those(hinge, (hinge > 0) & (hinge == hinge.amax(dim=2, keepdim=True)))


def softened(hinge: torch.Tensor, margin: torch.Tensor) -> Reduced:
    """tau log(1 + sum_n exp(h_n / tau)) of each anchor, tau = `TEMPERATURE`: the hardest hinge made smooth, as in TAL
    (Qin et al., CVPR 2024). All negatives share one hinge, so that the loss cannot rest at the margin by making all
    parts alike, as a mean over violating negatives can; every anchor counts once."""
    loss = TEMPERATURE * F.softplus((hinge / TEMPERATURE).logsumexp(dim=2))
    return loss, torch.ones_like(loss)


def of_those(hinge: torch.Tensor, counted: torch.Tensor) -> Reduced:
    """The hinges that count, summed."""
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
    """CMR (arXiv 2501.00318): per part k and anchor a, hinges max(0, m_ak - s_k(a, positive) + s_k(a, negative)) with
    m_ak = max(m (1 - c_ak), m_min): a person's text and image must be more alike than the part of anybody else, by a
    margin that shrinks with the part's commonality. Text and image anchors are summed.

    Args:
        text_parts, image_parts: (B, K, d), unit norm. person_ids: (B,).
        margin, floor: m and m_min, in cosine. commonality: a key of `COMMONALITY`; it carries no gradient.
        positives, negatives: keys of `POSITIVES` and `NEGATIVES`: with several images of a person in the batch, which
            one sets the bar; which negatives count.
        pair_weights: (B,) in [0, 1], how far each pair is trusted (`commonality_tbps`); None is 1 for all.
        chunk_size: anchors at a time; the similarities of a chunk are computed again in the backward pass, so that
            memory grows with chunk_size * B and not with B squared. None takes the whole batch at once.
    Returns:
        scalar: mean over parts of the mean over the counted pairs (softened: over anchors); 0 where the batch holds one
        identity only.
    """
    text_parts, image_parts = text_parts.float(), image_parts.float()
    own = own_cosine(text_parts.detach(), image_parts.detach(), person_ids, pair_weights)  # (K, B)
    bar = batch_own(own, person_ids, pair_weights)
    known = (person_ids, bar, *(() if pair_weights is None else (pair_weights,)))
    settings = RankingSettings(margin, floor, COMMONALITY[commonality], POSITIVES[positives], NEGATIVES[negatives])
    size = chunk_size or len(person_ids)
    ids = person_ids.split(size)
    weights = [None] * len(ids) if pair_weights is None else pair_weights.split(size)
    loss = text_parts.new_zeros(())
    for peers, candidates in ((text_parts, image_parts), (image_parts, text_parts)):
        blocks: list[Block] = []
        for anchors, partners, own_ids, trust in zip(
            peers.split(size), candidates.split(size), ids, weights, strict=True
        ):
            inputs = (settings, trust, anchors, partners, peers, candidates, own_ids, *known)
            whole = size >= len(person_ids)
            blocks.append(hinge_block(*inputs) if whole else checkpoint(hinge_block, *inputs, use_reentrant=False))
        sums, counts = (torch.stack(values).sum(dim=0) for values in zip(*blocks, strict=True))
        loss = loss + (sums / at_least_some(counts)).mean()
    return loss


@dataclass(frozen=True)
class RankingSettings:
    """What a block of hinges needs to know besides the embeddings."""

    margin: float
    floor: float
    estimate: Estimate
    positive: Callable[[AnchorRows], torch.Tensor]
    reduce: Callable[[torch.Tensor, torch.Tensor], Reduced]


def hinge_block(settings: RankingSettings, anchor_weights: torch.Tensor | None, *tensors: torch.Tensor) -> Block:
    """Hinges of A anchors with all B candidates, their sums and numbers, (K,) each; `tensors` as in `AnchorRows`. An
    anchor's hinges count as often as its pair is trusted, (A,)."""
    rows = AnchorRows(*tensors)
    observed = AnchorRows(*(tensor.detach() for tensor in tensors))  # how common a part is, is observed, not learned
    required = commonality_margin(settings.estimate(observed), settings.margin, settings.floor)
    if required.ndim == 2:
        required = required[:, :, None]  # (K, A, 1)
    hinge = rows.similarity - settings.positive(rows)[:, :, None] + required  # (K, A, B)
    ignored = rows.match  # the person's own images are no negatives
    if anchor_weights is not None:
        ignored = ignored | (anchor_weights == 0)[:, None]
    losses, counts = settings.reduce(hinge.masked_fill(ignored, NEVER), required)
    if anchor_weights is not None:
        losses, counts = losses * anchor_weights, counts * anchor_weights
    return losses.sum(dim=1), counts.sum(dim=1)
