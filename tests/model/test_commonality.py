"""Estimates of commonality: right on hand-made parts, in [0, 1] everywhere, equal to slow loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.commonality_tbps import COMMONALITY, TEMPERATURE, AnchorRows, batch_own, own_cosine
from tbps.ranking_loss_tbps import commonality_margin, commonality_margin_ranking

WITHIN = ["resembling", "resembling_pair", "all_views"]  # look at other cosines than those of anchors and candidates
ESTIMATES = [name for name in COMMONALITY if name not in ("none", "pairwise", "look_alike", *WITHIN)]


def rows_of(similarity: torch.Tensor, ids: list[int] | torch.Tensor) -> AnchorRows:
    """All rows of a batch as anchors, whose products with the candidates are the given cosines (K, B, B)."""
    person_ids = torch.as_tensor(ids)
    anchors = similarity.transpose(0, 1)  # (B, K, B)
    candidates = torch.eye(len(person_ids), dtype=similarity.dtype)[:, None, :].expand_as(anchors)
    own = batch_own(own_cosine(anchors, candidates, person_ids), person_ids)
    return AnchorRows(anchors, candidates, anchors, candidates, person_ids, person_ids, own)


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
        entropy = -sum(w / sum(weights) * math.log(w / sum(weights)) for w in weights)
        return min(max((math.exp(entropy) - 1) / len(people), 0.0), 1.0)
    return min(max(sum(votes) / len(votes), 0.0), 1.0)


@pytest.mark.parametrize("name", ESTIMATES)
@given(ids=st.lists(st.integers(0, 4), min_size=1, max_size=7), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_estimate_equals_slow_loop_and_stays_in_range(name: str, ids: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    text, image = F.normalize(torch.randn(2, len(ids), 4, generator=generator), dim=-1)
    similarity = (text @ image.T)[None]
    found = COMMONALITY[name](rows_of(similarity, ids))[0]
    matrix = similarity[0].tolist()
    own = [sum(r[j] for j in range(len(ids)) if ids[j] == ids[a]) / ids.count(ids[a]) for a, r in enumerate(matrix)]
    theta = sum(value / ids.count(person) for value, person in zip(own, ids, strict=True)) / len(set(ids))
    expected = [slow_estimate(name, row, ids, a, theta) for a, row in enumerate(matrix)]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("name", ESTIMATES)
def test_same_part_for_all_is_common_and_unique_part_is_not(name: str) -> None:
    people = 6
    common = torch.ones(people, people)  # everyone's part is the same vector
    unique = torch.eye(people)  # orthogonal parts: each person's own
    found = COMMONALITY[name](rows_of(torch.stack([common, unique]), torch.arange(people)))
    assert (found[0] > 0.85).all()
    assert (found[1] < 0.1).all()
    margin = commonality_margin(found, margin=0.2, floor=0.05)
    assert margin[0].tolist() == pytest.approx([0.05] * people)
    assert margin[1].tolist() == pytest.approx([0.2] * people, abs=0.02)


def test_no_commonality_keeps_the_margin_fixed() -> None:
    found = COMMONALITY["none"](rows_of(torch.ones(2, 3, 3), torch.arange(3)))
    assert torch.equal(found, torch.zeros(2, 3))


@pytest.mark.parametrize("name", COMMONALITY)
def test_one_identity_only_is_finite(name: str) -> None:
    found = COMMONALITY[name](rows_of(torch.ones(1, 3, 3), torch.zeros(3, dtype=torch.long)))
    assert found.isfinite().all()


def test_every_other_person_has_one_vote() -> None:
    votes = rows_of(torch.zeros(1, 5, 5), [1, 2, 2, 2, 3]).votes
    assert votes[0].tolist() == pytest.approx([0, 1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert rows_of(torch.zeros(1, 2, 2), [5, 5]).votes.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("name", COMMONALITY)
@given(
    ids=st.lists(st.integers(0, 4), min_size=1, max_size=6), times=st.integers(2, 4), seed=st.integers(0, 99),
    trust=st.booleans(),
)  # fmt: skip
@settings(deadline=None, max_examples=20)
def test_how_often_the_batch_holds_a_person_changes_nobodys_commonality(
    name: str, ids: list[int], times: int, seed: int, trust: bool
) -> None:
    """All pairs of one person stand `times` times in the batch instead of once: one vote a person."""
    generator = torch.Generator().manual_seed(seed)
    text, image = F.normalize(torch.randn(2, len(ids), 2, 4, generator=generator), dim=-1)
    person_ids = torch.tensor(ids)
    weights = torch.rand(len(ids), generator=generator) if trust else None
    again = torch.cat([torch.arange(len(ids)), *[(person_ids == ids[0]).nonzero()[:, 0]] * (times - 1)])
    found = []
    for rows in (torch.arange(len(ids)), again):
        some = (text[rows], image[rows], person_ids[rows], None if weights is None else weights[rows])
        bar = batch_own(own_cosine(*some), some[2], some[3])
        batch = AnchorRows(text, image, some[0], some[1], person_ids, some[2], bar, some[3])
        values = COMMONALITY[name](batch)
        found.append(values[..., : len(ids)] if values.ndim == 3 else values)
    assert torch.allclose(*found, atol=1e-5)


@pytest.mark.parametrize("name", COMMONALITY)
def test_some_anchors_alone_are_judged_as_among_all(name: str) -> None:
    generator = torch.Generator().manual_seed(5)
    ids = torch.tensor([1, 2, 2, 3, 4, 4])
    whole = rows_of(torch.rand(2, 6, 6, generator=generator), ids)
    some = AnchorRows(
        whole.anchors[2:4], whole.partners[2:4], whole.peers, whole.candidates, ids[2:4], ids, whole.batch_own
    )
    assert torch.allclose(COMMONALITY[name](some), COMMONALITY[name](whole)[:, 2:4], atol=1e-6)


def test_a_pair_that_could_be_swapped_is_common_and_another_is_not() -> None:
    # person 1 looks like person 0 does; person 2 does not
    similarity = torch.tensor([[[0.9, 0.9, 0.1], [0.9, 0.9, 0.1], [0.1, 0.1, 0.9]]])
    rows = rows_of(similarity, [0, 1, 2])
    look_alike = COMMONALITY["look_alike"](rows)
    assert look_alike[0, 0].tolist() == pytest.approx([1, 1, 0], abs=1e-5)
    pairwise = COMMONALITY["pairwise"](rows)
    assert pairwise[0, 0].tolist() == pytest.approx([0.5, 0.5, 0], abs=1e-5)  # one of the two others looks the same
    assert pairwise[0, 2].tolist() == pytest.approx([0, 0, 0], abs=1e-5)  # nobody looks like person 2


def test_people_resemble_each_other_by_their_sentences_or_by_their_images() -> None:
    # 0 and 1 have the same sentence, 0 and 2 the same image, 3 is like nobody
    text = torch.eye(4)[[0, 0, 1, 2]][:, None]
    image = torch.eye(4)[[0, 1, 0, 3]][:, None]
    ids = torch.arange(4)
    for anchors, candidates in ((text, image), (image, text)):
        rows = AnchorRows(anchors, candidates, anchors, candidates, ids, ids, torch.tensor([0.6]))  # theta 0.8
        pairs = COMMONALITY["resembling_pair"](rows)[0]
        assert pairs[0, 1:].tolist() == pytest.approx([0.982, 0.982, 0], abs=1e-3)  # sigmoid(0.2 / 0.05) = 0.982
        assert pairs[3, :3].tolist() == pytest.approx([0, 0, 0], abs=1e-3)
        assert COMMONALITY["resembling"](rows)[0, 0].item() == pytest.approx(2 / 3, abs=0.02)


def test_parts_that_cannot_be_told_apart_yet_halve_the_margin() -> None:
    parts, ids = torch.ones(3, 1, 1), torch.arange(3)
    rows = AnchorRows(parts, parts, parts, parts, ids, ids, torch.ones(1))
    assert COMMONALITY["resembling_pair"](rows) == pytest.approx(0.5)  # 1 would leave the ranking without a gradient


@given(ids=st.lists(st.integers(0, 3), min_size=1, max_size=6), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_own_cosine_is_the_mean_over_a_persons_images(ids: list[int], seed: int) -> None:
    text, image = torch.randn(2, len(ids), 2, 3, generator=torch.Generator().manual_seed(seed))
    found = own_cosine(text, image, torch.tensor(ids))
    for k in range(2):
        for a, person in enumerate(ids):
            mine = [float(text[a, k] @ image[j, k]) for j, other in enumerate(ids) if other == person]
            assert float(found[k, a]) == pytest.approx(sum(mine) / len(mine), abs=1e-5)


@pytest.mark.parametrize("name", COMMONALITY)
def test_no_gradient_flows_through_the_estimate(name: str) -> None:
    # the loss with the margins that the estimate gives, set by hand as constants, has the same gradient
    generator = torch.Generator().manual_seed(1)
    text, image = F.normalize(torch.randn(2, 5, 1, 4, generator=generator), dim=-1)
    ids, gradients = torch.arange(5), []
    for constant in (False, True):
        anchors = text.clone().requires_grad_()
        if constant:
            similarity = torch.einsum("akd,bkd->kab", anchors, image)
            loss = torch.zeros(())
            own = own_cosine(text, image, ids).mean(dim=1)
            pairs = ((text, image, similarity), (image, text, similarity.transpose(1, 2)))
            for peers, candidates, rows in pairs:
                common = COMMONALITY[name](AnchorRows(peers, candidates, peers, candidates, ids, ids, own))
                margin = commonality_margin(common, 0.5, 0.05)
                margin = margin[:, :, None] if margin.ndim == 2 else margin
                hinge = rows - rows.diagonal(dim1=1, dim2=2)[:, :, None] + margin
                hinge = hinge[:, ~torch.eye(5, dtype=torch.bool)].clamp_min(0)
                loss = loss + hinge.sum() / (hinge > 0).sum()
        else:
            loss = commonality_margin_ranking(anchors, image, ids, 0.5, 0.05, name)
        loss.backward()
        gradients.append(anchors.grad)
    assert gradients[0].abs().sum() > 0
    assert torch.allclose(*gradients, atol=1e-6)


def test_all_views_of_two_people_have_a_vote_each() -> None:
    # 0 and 1 have the same sentence, 0 and 2 the same image; the sentence of 3 tells the image of 0
    text = torch.eye(4)[[0, 0, 1, 2]][:, None]
    image = torch.eye(4)[[2, 1, 2, 3]][:, None]
    ids, own = torch.arange(4), torch.tensor([0.7])  # theta is 0.7 across and 0.9 within
    same, other = torch.sigmoid(torch.tensor([0.1 / 0.05, -0.9 / 0.05])).tolist()
    told, untold = torch.sigmoid(torch.tensor([0.3 / 0.05, -0.7 / 0.05])).tolist()
    one_of_two = (same + other + 2 * untold) / 4
    expected = (2 * one_of_two + (2 * other + told + untold) / 4) / 3
    for anchors, candidates in ((text, image), (image, text)):
        rows = AnchorRows(anchors, candidates, anchors, candidates, ids, ids, own)
        assert COMMONALITY["all_views"](rows)[0, 0].item() == pytest.approx(expected, abs=1e-6)
