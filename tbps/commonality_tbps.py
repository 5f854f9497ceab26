"""Estimates of commonality: how much a part of a person looks like the same part of other people.

The commonality c_ak in [0, 1] of part k of anchor a sets the margin of the ranking loss (`ranking_loss_tbps`). An
estimate reads an `AnchorRows` and returns (K, A), or (K, A, B) if it judges each pair of anchor and candidate. Every
other person has one vote, however many of their images are in the batch.

arXiv 2501.00318 gives no formula for c. A study on rendered people compared several (docs/method_study.md). None of
them found people better than another, so the package keeps three; `benchmarks/method/commonality.py` has the others.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch

from .matching_losses_tbps import EPSILON, nonzero_or_one, positive_weights, weighted_mean

TEMPERATURE = 0.05  # of sigmoids and log-sum-exps over cosines


@dataclass(frozen=True)
class AnchorRows:
    """A anchors against all B pairs of the batch. The anchors are rows of the batch, all from one modality.

    Args:
        anchors: (A, K, d) unit parts of the anchors.
        partners: (A, K, d) unit parts of the other modality of the same pairs.
        same_modality: (B, K, d) unit parts of the batch, in the anchors' modality.
        other_modality: (B, K, d) unit parts of the batch in the other modality: the candidates.
        anchor_ids: (A,) person ids of the anchors.
        person_ids: (B,) person ids of the batch.
        batch_positive_mean: (K,) mean cosine of the true pairs of the batch, see `batch_positive_mean`.
        pair_weights: (B,) trust in each pair of the batch, see `matching_losses_tbps`; None trusts all pairs.
    """

    anchors: torch.Tensor
    partners: torch.Tensor
    same_modality: torch.Tensor
    other_modality: torch.Tensor
    anchor_ids: torch.Tensor
    person_ids: torch.Tensor
    batch_positive_mean: torch.Tensor
    pair_weights: torch.Tensor | None = None

    def detach(self) -> "AnchorRows":
        """Return the same rows without gradient."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        detached: dict[str, Any] = {name: x if x is None else x.detach() for name, x in tensors.items()}
        return AnchorRows(**detached)

    @cached_property
    def similarity(self) -> torch.Tensor:
        """(K, A, B) cosines of anchors and candidates."""
        return cosines(self.anchors, self.other_modality)

    @cached_property
    def intra(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines within a modality, (K, A, B) each: anchors and the batch, partners and the candidates."""
        return cosines(self.anchors, self.same_modality), cosines(self.partners, self.other_modality)

    @cached_property
    def cross(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines across modalities, (K, A, B) each: anchors and candidates, partners and the anchors' modality."""
        return self.similarity, cosines(self.partners, self.same_modality)

    @cached_property
    def match(self) -> torch.Tensor:
        """(A, B) bool, True where anchor and candidate are one person."""
        return self.anchor_ids[:, None] == self.person_ids[None, :]

    @cached_property
    def positives(self) -> torch.Tensor:
        """(A, B) float, the weight of each candidate as a positive of each anchor."""
        return positive_weights(self.match, self.pair_weights)

    @cached_property
    def positive_mean(self) -> torch.Tensor:
        """(K, A) mean cosine of each anchor and the candidates of its person; 0 if none of these pairs is trusted."""
        return (self.similarity * self.positives).sum(dim=2) / nonzero_or_one(self.positives.sum(dim=1))

    @cached_property
    def images_per_person(self) -> torch.Tensor:
        """(B,) float, how many pairs of the batch show each candidate's person."""
        _, person, counts = self.person_ids.unique(return_inverse=True, return_counts=True)
        return counts[person].float()

    @cached_property
    def votes(self) -> torch.Tensor:
        """(A, B) weights of a mean over other people: equal for each person, equal for each image of a person.

        A row sums to 1, or to 0 if the batch has no other person.
        """
        votes = (~self.match).float() / self.images_per_person[None, :]
        return votes / votes.sum(dim=1, keepdim=True).clamp_min(EPSILON)

    def mean_vote(self, values: torch.Tensor) -> torch.Tensor:
        """Average over other people, one vote per person: (K, A, B) -> (K, A)."""
        return (values * self.votes).sum(dim=2)


def cosines(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Cosines of unit parts: (A, K, d) and (B, K, d) -> (K, A, B)."""
    return torch.einsum("akd,bkd->kab", one, other)


def positive_cosine(
    text_parts: torch.Tensor,
    image_parts: torch.Tensor,
    person_ids: torch.Tensor,
    pair_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean cosine of each text's parts and the images of its person: (B, K, d) twice, (B,) -> (K, B).

    The mean is over trusted pairs, and 0 for a person without any.
    """
    _, person = person_ids.unique(return_inverse=True)
    count = person.bincount(pair_weights).to(image_parts.dtype)
    weighted_parts = image_parts if pair_weights is None else image_parts * pair_weights[:, None, None]
    sums = image_parts.new_zeros(len(count), *image_parts.shape[1:]).index_add(0, person, weighted_parts)
    return torch.einsum("bkd,bkd->kb", text_parts, (sums / nonzero_or_one(count)[:, None, None])[person])


def batch_positive_mean(
    cosine: torch.Tensor, person_ids: torch.Tensor, pair_weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Average `positive_cosine` (K, B) over the people of a batch -> (K,).

    Each person has one vote, however many pairs show them. Within a person, each pair counts by its weight.
    """
    _, person, counts = person_ids.unique(return_inverse=True, return_counts=True)
    votes = 1 / counts[person].to(cosine.dtype)
    return weighted_mean(cosine, votes if pair_weights is None else votes * pair_weights)


def no_commonality(rows: AnchorRows) -> torch.Tensor:
    """Return 0 for every part, which keeps the margin of the ranking loss fixed."""
    return rows.anchors.new_zeros(rows.anchors.shape[1::-1])


def mean_similarity(rows: AnchorRows) -> torch.Tensor:
    """Mean cosine of the anchor and other people, clamped at 0."""
    return rows.mean_vote(rows.similarity).clamp(0, 1)


def all_views(rows: AnchorRows) -> torch.Tensor:
    """Fraction of other people who resemble the anchor's person in that part.

    Each other person adds a value from 0 to 1, the mean of four comparisons: text with text, image with image, and each
    person's text with the other's image. A comparison gives sigmoid((cosine - theta_k) / temperature). Across
    modalities theta_k is the mean cosine of true pairs. Within a modality equal things are more alike, so theta_k is
    moved two thirds of the way to 1.
    """
    theta = rows.batch_positive_mean[:, None, None]
    thresholds = (theta, theta, *[(2 + theta) / 3] * 2)
    votes = torch.zeros_like(rows.similarity)
    for cosine, threshold in zip((*rows.cross, *rows.intra), thresholds, strict=True):  # one (K, A, B) at a time
        votes += torch.sigmoid((cosine - threshold) / TEMPERATURE)
    return rows.mean_vote(votes / 4).clamp(0, 1)


Estimate = Callable[[AnchorRows], torch.Tensor]
# Estimates by the name that `TBPSConfig.commonality` gives. Add your own to this dictionary before you build a
# configuration with it; loading a checkpoint that was trained with it needs the entry too.
COMMONALITY: dict[str, Estimate] = {
    "none": no_commonality,
    "mean_similarity": mean_similarity,
    "all_views": all_views,
}
# Estimates that were part of the package. A checkpoint that was trained with one loads and searches without it.
MOVED_ESTIMATES = ("soft_rank", "entropy", "sigmoid", "pairwise", "look_alike", "resembling", "resembling_pair")


def find_estimate(name: str) -> Estimate:
    """Return the estimate registered under `name`.

    Raises:
        ValueError: no estimate is registered under that name.
    """
    if name in COMMONALITY:
        return COMMONALITY[name]
    if name in MOVED_ESTIMATES:
        raise ValueError(
            f"commonality={name!r} is an estimate of the method study and is not registered. To train with it, call "
            "benchmarks.method.commonality.register_estimates() of the tbps repository first, or choose one of "
            f"{', '.join(COMMONALITY)}."
        )
    raise ValueError(f"commonality={name!r}: expected one of {', '.join(COMMONALITY)}.")
