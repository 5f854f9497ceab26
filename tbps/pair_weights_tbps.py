"""How far each training pair is trusted: weights (B,) in [0, 1], None where all are trusted.

A pair of weight w counts w times as an anchor, and w times as a positive of the other pairs of its person. At weight 0
it is no positive of anybody, no negative of its own person (whose image it may well show), and still a negative of
everybody else: a caption at the wrong image describes somebody, seldom the person it is compared with.
"""

import torch

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
