"""Estimates of commonality that the study compares beside those of the package.

None of them found people better than the estimates that the package keeps (docs/method_study.md). `register_estimates`
adds them to the package's registry, so that `TBPSConfig(commonality=...)` can train with them.
"""

import torch
import torch.nn.functional as F

from tbps.commonality_tbps import COMMONALITY, TEMPERATURE, AnchorRows, Estimate


def register_estimates() -> None:
    """Add the estimates of the study to those of the package; an entry that is there already stays."""
    for name, estimate in STUDY_ESTIMATES.items():
        COMMONALITY.setdefault(name, estimate)


def positive_rank(rows: AnchorRows) -> torch.Tensor:
    """(K, A, B) sigmoid of how much better a candidate matches the anchor than its own person does; 1/2 if equal."""
    return torch.sigmoid((rows.similarity - rows.positive_mean[:, :, None]) / TEMPERATURE)


def soft_rank(rows: AnchorRows) -> torch.Tensor:
    """Fraction of other people who match the anchor's part at least as well as its own person does.

    The comparison is a sigmoid, which gives 1/2 where all cosines are equal, so the mean is doubled and clamped at 1.
    """
    return (2 * rows.mean_vote(positive_rank(rows))).clamp(0, 1)


def entropy(rows: AnchorRows) -> torch.Tensor:
    """Effective number of people that the anchor's part points at, less one, as a fraction of the other people.

    The number is the perplexity of the softmax over people: 1 if everyone is alike, 0 if one person stands out.
    """
    _, person = rows.person_ids.unique(return_inverse=True)
    shares = F.softmax(rows.similarity / TEMPERATURE - rows.images_per_person.log(), dim=2)  # one vote per person
    over_people = shares @ F.one_hot(person).to(shares.dtype)  # (K, A, P), summed over the images of each person
    perplexity = torch.special.entr(over_people).sum(dim=2).exp()
    others = max(over_people.shape[2] - 1, 1)
    return ((perplexity - 1) / others).clamp(0, 1)


def sigmoid(rows: AnchorRows) -> torch.Tensor:
    """Mean over other people of sigmoid((s - theta_k) / temperature).

    theta_k is the mean cosine of true pairs less two temperatures, so that a part as alike as true pairs are counts as
    common. It does not saturate when all cosines are high.
    """
    theta = rows.batch_positive_mean[:, None, None] - 2 * TEMPERATURE
    return rows.mean_vote(torch.sigmoid((rows.similarity - theta) / TEMPERATURE)).clamp(0, 1)


def pairwise(rows: AnchorRows) -> torch.Tensor:
    """c_ak r_an of the pairwise margin m (1 - c_ak r_an): `soft_rank` of the anchor times `look_alike`. (K, A, B)

    A candidate that differs gets 0.
    """
    return soft_rank(rows)[:, :, None] * look_alike(rows)


def look_alike(rows: AnchorRows) -> torch.Tensor:
    """r_an alone: 1 for a candidate that matches the anchor as well as its own person does. (K, A, B)

    Such a candidate demands only the floor, however rare its part is.
    """
    return (2 * positive_rank(rows)).clamp(max=1)


def resembling_pair(rows: AnchorRows) -> torch.Tensor:
    """Whether the texts or the images of two people resemble each other: sigmoid((r - theta_k) / temperature).

    (K, A, B). r is the larger of the cosines within the two modalities. It is not the cosine of the hinge, so it can
    excuse a negative that looks the same without excusing one that the model merely confuses.

    theta_k lies halfway between 1 and the mean cosine of true pairs. A fixed one would excuse every negative while
    untrained parts all resemble each other, and the ranking loss would have no gradient.
    """
    theta = (1 + rows.batch_positive_mean[:, None, None]) / 2
    return torch.sigmoid((torch.maximum(*rows.intra) - theta) / TEMPERATURE)


def resembling(rows: AnchorRows) -> torch.Tensor:
    """Fraction of other people who resemble the anchor's person in that part, by `resembling_pair`."""
    return rows.mean_vote(resembling_pair(rows))


STUDY_ESTIMATES: dict[str, Estimate] = {
    "soft_rank": soft_rank,
    "entropy": entropy,
    "sigmoid": sigmoid,
    "pairwise": pairwise,
    "look_alike": look_alike,
    "resembling": resembling,
    "resembling_pair": resembling_pair,
}
ESTIMATES = (
    "mean_similarity",
    *STUDY_ESTIMATES,
    "all_views",
)  # all that the study compares, in the order of its tables
