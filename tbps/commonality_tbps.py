"""How common a part is: estimates of the commonality c_ak in [0, 1] that sets the margin of the ranking loss.

c_ak says how much the k-th part of anchor a looks like the same part of OTHER people. Every estimate takes the
similarities (K, B, B) of anchors (rows) to candidates of the other modality (columns) and person_ids (B,), gives each
other person one vote, however many images the batch holds of them, and returns (K, B). arXiv 2501.00318 gives no
formula: which estimate is the default is decided by measurement.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

EPSILON = 1e-8


def same_person(person_ids: torch.Tensor) -> torch.Tensor:
    """(B,) ids -> (B, B) bool, True where row and column show one person."""
    return person_ids[:, None] == person_ids[None, :]


def person_votes(person_ids: torch.Tensor) -> torch.Tensor:
    """(B, B) float weights: row a spreads 1 over the images of people other than a's, equally per person and within
    a person. Rows are 0 where the batch holds nobody else."""
    match = same_person(person_ids)
    votes = (~match).float() / match.sum(dim=1).float()[None, :]
    return votes / votes.sum(dim=1, keepdim=True).clamp_min(EPSILON)


def mean_similarity(similarity: torch.Tensor, person_ids: torch.Tensor) -> torch.Tensor:
    """Mean cosine to other people's part, cut at 0: (K, B, B), (B,) -> (K, B) in [0, 1]."""
    return (similarity * person_votes(person_ids)).sum(dim=2).clamp(0, 1)


def soft_rank(similarity: torch.Tensor, person_ids: torch.Tensor, temperature: float = 0.05) -> torch.Tensor:
    """Share of other people who look at least as much like the anchor's part as its own person does, by a sigmoid of
    the difference. (K, B, B), (B,) -> (K, B); 1/2 where all cosines are equal, hence doubled and cut at 1."""
    own = own_similarity(similarity, person_ids)
    beats = torch.sigmoid((similarity - own[:, :, None]) / temperature)
    return (2 * (beats * person_votes(person_ids)).sum(dim=2)).clamp(0, 1)


def entropy(similarity: torch.Tensor, person_ids: torch.Tensor, temperature: float = 0.05) -> torch.Tensor:
    """Effective number of people (perplexity of the softmax over people) that the anchor's part points at, less one,
    as a share of the others. (K, B, B), (B,) -> (K, B); 1 where everyone is alike, 0 where one person stands out."""
    images = same_person(person_ids).sum(dim=1).float()  # images of the column's person
    log_p = F.log_softmax(similarity / temperature - images.log(), dim=2)  # one vote a person
    perplexity = (-(log_p.exp() * (log_p + images.log())).sum(dim=2)).exp()
    others = ((1 / images).sum() - 1).clamp_min(EPSILON)
    return ((perplexity - 1) / others).clamp(0, 1)


def sigmoid(similarity: torch.Tensor, person_ids: torch.Tensor, temperature: float = 0.05) -> torch.Tensor:
    """Mean over other people of sigmoid((s - theta_k) / temperature), theta_k the mean similarity of true pairs less
    two temperatures, so that a part as alike as true pairs are counts as common. Does not saturate when all cosines
    are high. (K, B, B), (B,) -> (K, B)."""
    theta = own_similarity(similarity, person_ids).mean(dim=1)[:, None, None] - 2 * temperature
    return (torch.sigmoid((similarity - theta) / temperature) * person_votes(person_ids)).sum(dim=2).clamp(0, 1)


def own_similarity(similarity: torch.Tensor, person_ids: torch.Tensor) -> torch.Tensor:
    """Mean cosine of each anchor to the images of its own person: (K, B, B), (B,) -> (K, B)."""
    match = same_person(person_ids).float()
    return (similarity * match).sum(dim=2) / match.sum(dim=1)


def no_commonality(similarity: torch.Tensor, person_ids: torch.Tensor) -> torch.Tensor:
    """0 for every part: the ranking loss keeps one fixed margin."""
    return similarity.new_zeros(similarity.shape[:2])


COMMONALITY: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "none": no_commonality,
    "mean_similarity": mean_similarity,
    "soft_rank": soft_rank,
    "entropy": entropy,
    "sigmoid": sigmoid,
}
