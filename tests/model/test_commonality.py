"""Estimates of commonality: right on hand-made parts, in [0, 1] everywhere, equal to slow loops."""

import pytest
import torch
from estimate_checks import (
    check_common_and_unique_parts,
    check_equals_slow_loop,
    check_no_gradient,
    check_one_identity_is_finite,
    check_one_vote_per_person,
    check_some_anchors_alone,
    rows_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.commonality_tbps import COMMONALITY, AnchorRows, find_estimate, positive_cosine


@given(ids=st.lists(st.integers(0, 4), min_size=1, max_size=7), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_mean_similarity_equals_a_slow_loop(ids: list[int], seed: int) -> None:
    check_equals_slow_loop("mean_similarity", ids, seed)


def test_mean_similarity_separates_common_from_unique_parts() -> None:
    check_common_and_unique_parts("mean_similarity")


def test_no_commonality_keeps_the_margin_fixed() -> None:
    found = COMMONALITY["none"](rows_of(torch.ones(2, 3, 3), torch.arange(3)))
    assert torch.equal(found, torch.zeros(2, 3))


@pytest.mark.parametrize("name", COMMONALITY)
def test_one_identity_only_is_finite(name: str) -> None:
    check_one_identity_is_finite(name)


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
def test_repeated_pairs_of_a_person_change_no_commonality(
    name: str, ids: list[int], times: int, seed: int, trust: bool
) -> None:
    check_one_vote_per_person(name, ids, times, seed, trust)


@pytest.mark.parametrize("name", COMMONALITY)
def test_a_chunk_of_anchors_gets_the_values_of_the_full_batch(name: str) -> None:
    check_some_anchors_alone(name)


@pytest.mark.parametrize("name", COMMONALITY)
def test_no_gradient_flows_through_the_estimate(name: str) -> None:
    check_no_gradient(name)


@given(ids=st.lists(st.integers(0, 3), min_size=1, max_size=6), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_positive_cosine_is_the_mean_over_a_persons_images(ids: list[int], seed: int) -> None:
    text, image = torch.randn(2, len(ids), 2, 3, generator=torch.Generator().manual_seed(seed))
    found = positive_cosine(text, image, torch.tensor(ids))
    for k in range(2):
        for a, person in enumerate(ids):
            mine = [float(text[a, k] @ image[j, k]) for j, other in enumerate(ids) if other == person]
            assert float(found[k, a]) == pytest.approx(sum(mine) / len(mine), abs=1e-5)


def test_all_views_of_two_people_have_a_vote_each() -> None:
    # 0 and 1 have the same text, 0 and 2 the same image; the text of 3 describes the image of 0
    text = torch.eye(4)[[0, 0, 1, 2]][:, None]
    image = torch.eye(4)[[2, 1, 2, 3]][:, None]
    ids, mean = torch.arange(4), torch.tensor([0.7])  # theta is 0.7 across modalities and 0.9 within
    same, other = torch.sigmoid(torch.tensor([0.1 / 0.05, -0.9 / 0.05])).tolist()
    described, not_described = torch.sigmoid(torch.tensor([0.3 / 0.05, -0.7 / 0.05])).tolist()
    one_of_two = (same + other + 2 * not_described) / 4
    expected = (2 * one_of_two + (2 * other + described + not_described) / 4) / 3
    for anchors, candidates in ((text, image), (image, text)):
        rows = AnchorRows(anchors, candidates, anchors, candidates, ids, ids, mean)
        assert COMMONALITY["all_views"](rows)[0, 0].item() == pytest.approx(expected, abs=1e-6)


def test_an_estimate_that_is_not_registered_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(COMMONALITY, "soft_rank", raising=False)
    with pytest.raises(ValueError, match=r"commonality='soft_rank'.*benchmarks\.method\.commonality\.register_esti"):
        find_estimate("soft_rank")
    with pytest.raises(ValueError, match="commonality='rare': expected one of none, mean_similarity, all_views"):
        find_estimate("rare")
