"""How common a part is: estimates of the commonality c in [0, 1] that sets the margin of the ranking loss.

c_ak says how much the k-th part of anchor a looks like the same part of OTHER people. An estimate takes the
similarities of A anchors (rows) to B candidates of the other modality, gives each other person one vote, however many
images the batch holds of them, and returns (K, A), or (K, A, B) where it judges every pair by itself. arXiv 2501.00318
gives no formula: which estimate is the default is decided by measurement.

How far each training pair is trusted: weights (B,) in [0, 1], None where all are trusted.

A pair of weight w counts w times as an anchor, and w times as a positive of the other pairs of its person. At weight 0
it is no positive of anybody, no negative of its own person (whose image it may well show), and still a negative of
everybody else: a caption at the wrong image describes somebody, seldom the person it is compared with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F

EXCLUDED = -1e4  # a logit that no softmax in float32 sees, yet finite: 0 times it is 0


def weighted_mean(values: torch.Tensor, pair_weights: torch.Tensor | None) -> torch.Tensor:
    """Mean of values over pairs, (..., B) -> (...), each counted as often as its pair is trusted; 0 where no pair is.

    The sum is divided by that of the weights, so that the loss does not shrink with the number of distrusted pairs.
    """
    if pair_weights is None:
        return values.mean(dim=-1)
    return (values * pair_weights).sum(dim=-1) / at_least_some(pair_weights.sum())


def at_least_some(total: torch.Tensor) -> torch.Tensor:
    """A sum of weights to divide by; of no weight at all, 1."""
    return torch.where(total > 0, total, 1)


def trusted(match: torch.Tensor, pair_weights: torch.Tensor | None) -> torch.Tensor:
    """(A, B) bool, True where row and column show one person -> float, how much of a positive the column is."""
    return match.float() if pair_weights is None else match * pair_weights[None, :]


def exclude(logits: torch.Tensor, match: torch.Tensor, pair_weights: torch.Tensor | None) -> torch.Tensor:
    """(A, B) logits without the columns that are neither positive nor negative of their row."""
    return logits if pair_weights is None else logits.masked_fill(match & (pair_weights == 0)[None, :], EXCLUDED)


EPSILON = 1e-8


@dataclass(frozen=True)
class AnchorRows:
    """A anchors against all B pairs of the batch; the anchors are some or all of the batch's rows, of one modality.

    Args:
        anchors, partners: (A, K, d) unit parts of the anchors, and of the other modality of the same pairs.
        peers, candidates: (B, K, d) the same of the whole batch: peers of the anchors' modality, candidates of the
            other, which the anchors are compared with.
        anchor_ids: (A,), person_ids: (B,): who is on which pair.
        batch_own: (K,) mean cosine of the true pairs of the whole batch (see `batch_own`).
        pair_weights: (B,), how far each pair of the batch is trusted (`commonality_tbps`); None is 1 for all.
    """

    anchors: torch.Tensor
    partners: torch.Tensor
    peers: torch.Tensor
    candidates: torch.Tensor
    anchor_ids: torch.Tensor
    person_ids: torch.Tensor
    batch_own: torch.Tensor
    pair_weights: torch.Tensor | None = None

    @cached_property
    def similarity(self) -> torch.Tensor:
        """(K, A, B) cosines of the anchors (rows) and the candidates of the other modality."""
        return cosines(self.anchors, self.candidates)

    @cached_property
    def within(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(K, A, B) twice: cosines of the two pairs' sentences and of their images, in the order of the anchors."""
        return cosines(self.anchors, self.peers), cosines(self.partners, self.candidates)

    @cached_property
    def across(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(K, A, B) twice: cosines of the anchors to the candidates, and of the anchors' partners to those of the
        candidates."""
        return self.similarity, cosines(self.partners, self.peers)

    @cached_property
    def resemblance(self) -> torch.Tensor:
        """(K, A, B) the larger of the cosines of the two pairs' sentences and of their images."""
        return torch.maximum(*self.within)

    @cached_property
    def match(self) -> torch.Tensor:
        """(A, B) bool, True where row and column show one person."""
        return self.anchor_ids[:, None] == self.person_ids[None, :]

    @cached_property
    def positives(self) -> torch.Tensor:
        """(A, B) float, how much of a positive of the row the column is: 1 for the same person, as far as trusted."""
        return trusted(self.match, self.pair_weights)

    @cached_property
    def images(self) -> torch.Tensor:
        """(B,) float, how many of the candidates show the column's person."""
        _, person, counts = self.person_ids.unique(return_inverse=True, return_counts=True)
        return counts[person].float()

    @cached_property
    def votes(self) -> torch.Tensor:
        """(A, B) weights: row a spreads 1 over the images of people other than a's, equally per person and within a
        person. Rows are 0 where there is nobody else."""
        votes = (~self.match).float() / self.images[None, :]
        return votes / votes.sum(dim=1, keepdim=True).clamp_min(EPSILON)

    @cached_property
    def own(self) -> torch.Tensor:
        """(K, A) mean cosine of each anchor to the images of its own person; 0 where none of these is trusted."""
        return (self.similarity * self.positives).sum(dim=2) / at_least_some(self.positives.sum(dim=1))

    def mean_vote(self, values: torch.Tensor) -> torch.Tensor:
        """Mean over other people: (K, A, B) -> (K, A)."""
        return (values * self.votes).sum(dim=2)

    @cached_property
    def beats(self) -> torch.Tensor:
        """(K, A, B) sigmoid of how much better a candidate suits the anchor than its own person does; 1/2 as well."""
        return torch.sigmoid((self.similarity - self.own[:, :, None]) / TEMPERATURE)


TEMPERATURE = 0.05  # in cosine: how far apart two similarities must be to be told apart


def cosines(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """(A, K, d) and (B, K, d) unit parts -> (K, A, B)."""
    return torch.einsum("akd,bkd->kab", one, other)


def same_person(person_ids: torch.Tensor) -> torch.Tensor:
    """(B,) ids -> (B, B) bool, True where row and column show one person."""
    return person_ids[:, None] == person_ids[None, :]


def own_cosine(
    text_parts: torch.Tensor,
    image_parts: torch.Tensor,
    person_ids: torch.Tensor,
    pair_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean cosine of each sentence's parts to the images of its person: (B, K, d) twice, (B,) -> (K, B). The mean is
    over trusted pairs, and 0 where there are none."""
    _, person = person_ids.unique(return_inverse=True)
    count = person.bincount(pair_weights).to(image_parts.dtype)
    trusted_parts = image_parts if pair_weights is None else image_parts * pair_weights[:, None, None]
    sums = image_parts.new_zeros(len(count), *image_parts.shape[1:]).index_add(0, person, trusted_parts)
    return torch.einsum("bkd,bkd->kb", text_parts, (sums / at_least_some(count)[:, None, None])[person])


def batch_own(own: torch.Tensor, person_ids: torch.Tensor, pair_weights: torch.Tensor | None = None) -> torch.Tensor:
    """Mean of `own_cosine` (K, B) over the people of a batch -> (K,): one vote a person, however many pairs show them;
    a pair's part of it counts as far as the pair is trusted."""
    _, person, counts = person_ids.unique(return_inverse=True, return_counts=True)
    votes = 1 / counts[person].to(own.dtype)
    return weighted_mean(own, votes if pair_weights is None else votes * pair_weights)


def no_commonality(rows: AnchorRows) -> torch.Tensor:
    """0 for every part: the ranking loss keeps one fixed margin."""
    return rows.anchors.new_zeros(rows.anchors.shape[1::-1])


def mean_similarity(rows: AnchorRows) -> torch.Tensor:
    """Mean cosine to other people's part, cut at 0."""
    return rows.mean_vote(rows.similarity).clamp(0, 1)


def soft_rank(rows: AnchorRows) -> torch.Tensor:
    """Share of other people who look at least as much like the anchor's part as its own person does, by a sigmoid of
    the difference; 1/2 where all cosines are equal, hence doubled and cut at 1."""
    return (2 * rows.mean_vote(rows.beats)).clamp(0, 1)


def entropy(rows: AnchorRows) -> torch.Tensor:
    """Effective number of people (perplexity of the softmax over people) that the anchor's part points at, less one,
    as a share of the others; 1 where everyone is alike, 0 where one person stands out."""
    _, person = rows.person_ids.unique(return_inverse=True)
    shares = F.softmax(rows.similarity / TEMPERATURE - rows.images.log(), dim=2)  # one vote a person
    over_people = shares @ F.one_hot(person).to(shares.dtype)  # (K, A, P): what its images have is a person's share
    perplexity = torch.special.entr(over_people).sum(dim=2).exp()
    others = max(over_people.shape[2] - 1, 1)
    return ((perplexity - 1) / others).clamp(0, 1)


def sigmoid(rows: AnchorRows) -> torch.Tensor:
    """Mean over other people of sigmoid((s - theta_k) / temperature), theta_k the mean similarity of true pairs less
    two temperatures, so that a part as alike as true pairs are counts as common. Does not saturate when all cosines
    are high."""
    theta = rows.batch_own[:, None, None] - 2 * TEMPERATURE
    return rows.mean_vote(torch.sigmoid((rows.similarity - theta) / TEMPERATURE)).clamp(0, 1)


def pairwise(rows: AnchorRows) -> torch.Tensor:
    """c_ak r_an of the pairwise margin m (1 - c_ak r_an): how common the anchor's part is (`soft_rank`), where the
    candidate is one of its look-alikes; 0 for a candidate that differs. (K, A, B)."""
    return soft_rank(rows)[:, :, None] * look_alike(rows)


def look_alike(rows: AnchorRows) -> torch.Tensor:
    """r_an alone: a candidate whose part suits the anchor as well as its own person's does demands the floor, however
    rare that is. (K, A, B)."""
    return (2 * rows.beats).clamp(max=1)


def resembling_pair(rows: AnchorRows) -> torch.Tensor:
    """sigmoid((resemblance - theta_k) / temperature): whether the sentences or the images of the two people resemble
    each other. It does not look at the cosine that the hinge is made of, and so can excuse a negative that looks the
    same without excusing one that the model merely confuses. (K, A, B).

    theta_k lies halfway between 1 and the mean similarity of true pairs. A fixed one excuses every negative while
    untrained parts all resemble each other, and leaves the ranking loss without a gradient.
    """
    theta = (1 + rows.batch_own[:, None, None]) / 2
    return torch.sigmoid((rows.resemblance - theta) / TEMPERATURE)


def resembling(rows: AnchorRows) -> torch.Tensor:
    """Share of other people who resemble the anchor's person there, by `resembling_pair`."""
    return rows.mean_vote(resembling_pair(rows))


def all_views(rows: AnchorRows) -> torch.Tensor:
    """Share of other people who resemble the anchor's person there, as a mean of four votes: sentence and sentence,
    image and image, and each one's sentence and the other's image. sigmoid((cosine - theta_k) / temperature), with
    theta_k the mean similarity of true pairs across modalities, and a third of the way from 1 to that within them,
    where equal things are more alike."""
    across = rows.batch_own[:, None, None]
    bars = (across, across, *[(2 + across) / 3] * 2)
    votes = torch.zeros_like(rows.similarity)
    for cosine, bar in zip((*rows.across, *rows.within), bars, strict=True):  # one at a time: each is (K, A, B)
        votes += torch.sigmoid((cosine - bar) / TEMPERATURE)
    return rows.mean_vote(votes / 4).clamp(0, 1)


Estimate = Callable[[AnchorRows], torch.Tensor]
COMMONALITY: dict[str, Estimate] = {
    "none": no_commonality,
    "mean_similarity": mean_similarity,
    "soft_rank": soft_rank,
    "entropy": entropy,
    "sigmoid": sigmoid,
    "pairwise": pairwise,
    "look_alike": look_alike,
    "resembling": resembling,
    "resembling_pair": resembling_pair,
    "all_views": all_views,
}
