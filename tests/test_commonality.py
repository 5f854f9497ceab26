"""Estimates of commonality: right on hand-made parts, in [0, 1] everywhere, equal to slow loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.commonality_tbps import COMMONALITY, person_votes
from tbps.loss_tbps import commonality_margin, commonality_margin_ranking

ESTIMATES = [name for name in COMMONALITY if name != "none"]
TEMPERATURE = 0.05


def slow_estimate(name: str, row: list[float], ids: list[int], anchor: int, theta: float) -> float:
    """One anchor's commonality, person by person."""
    people = sorted(set(ids) - {ids[anchor]})
    if not people:
        return 0.0

    def mean_over_images(person: int, of: list[float]) -> float:
        mine = [of[j] for j in range(len(ids)) if ids[j] == person]
        return sum(mine) / len(mine)

    def squash(x: float) -> float:
        return 1 / (1 + math.exp(-x / TEMPERATURE))

    if name == "mean_similarity":
        votes = [mean_over_images(person, row) for person in people]
    elif name == "soft_rank":
        own = mean_over_images(ids[anchor], row)
        votes = [2 * mean_over_images(person, [squash(s - own) for s in row]) for person in people]
    elif name == "sigmoid":
        votes = [mean_over_images(person, [squash(s - theta + 2 * TEMPERATURE) for s in row]) for person in people]
    else:
        everyone = [*people, ids[anchor]]
        weights = [mean_over_images(person, [math.exp(s / TEMPERATURE) for s in row]) for person in everyone]
        # each image's share of its person's weight spreads the entropy within the person; what counts is over people
        shares = []
        for j, s in enumerate(row):
            count = sum(i == ids[j] for i in ids)
            shares.append((math.exp(s / TEMPERATURE) / count / sum(weights), count))
        entropy = -sum(p * math.log(p * count) for p, count in shares if p > 0)
        return min(max((math.exp(entropy) - 1) / len(people), 0.0), 1.0)
    return min(max(sum(votes) / len(votes), 0.0), 1.0)


@pytest.mark.parametrize("name", ESTIMATES)
@given(ids=st.lists(st.integers(0, 4), min_size=1, max_size=7), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_estimate_equals_slow_loop_and_stays_in_range(name: str, ids: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    text, image = F.normalize(torch.randn(2, len(ids), 4, generator=generator), dim=-1)
    similarity = (text @ image.T)[None]
    found = COMMONALITY[name](similarity, torch.tensor(ids))[0]
    matrix = similarity[0].tolist()
    own = [sum(r[j] for j in range(len(ids)) if ids[j] == ids[a]) / ids.count(ids[a]) for a, r in enumerate(matrix)]
    theta = sum(own) / len(own)
    expected = [slow_estimate(name, row, ids, a, theta) for a, row in enumerate(matrix)]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("name", ESTIMATES)
def test_same_part_for_all_is_common_and_unique_part_is_not(name: str) -> None:
    people = 6
    common = torch.ones(people, people)  # everyone's part is the same vector
    unique = torch.eye(people)  # orthogonal parts: each person's own
    found = COMMONALITY[name](torch.stack([common, unique]), torch.arange(people))
    assert (found[0] > 0.85).all()
    assert (found[1] < 0.1).all()
    margin = commonality_margin(found, margin=0.2, floor=0.05)
    assert margin[0].tolist() == pytest.approx([0.05] * people)
    assert margin[1].tolist() == pytest.approx([0.2] * people, abs=0.02)


def test_no_commonality_keeps_the_margin_fixed() -> None:
    found = COMMONALITY["none"](torch.ones(2, 3, 3), torch.arange(3))
    assert torch.equal(found, torch.zeros(2, 3))


@pytest.mark.parametrize("name", ESTIMATES)
def test_one_identity_only_is_finite(name: str) -> None:
    found = COMMONALITY[name](torch.ones(1, 3, 3), torch.zeros(3, dtype=torch.long))
    assert found.isfinite().all()


def test_every_other_person_has_one_vote() -> None:
    votes = person_votes(torch.tensor([1, 2, 2, 2, 3]))
    assert votes[0].tolist() == pytest.approx([0, 1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert person_votes(torch.tensor([5, 5])).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("name", ESTIMATES)
def test_no_gradient_flows_through_the_estimate(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    similarity = (torch.rand(1, 4, 4, generator=generator) * 0.5).requires_grad_()
    commonality_margin_ranking(similarity, torch.arange(4), 0.3, 0.05, name).backward()
    count = similarity.grad.abs().sum()
    # with a fixed hinge pattern, each direction's gradient is +-1/violating: it sums to zero over a row
    assert count > 0
    assert float(similarity.grad.sum()) == pytest.approx(0, abs=1e-6)
