"""The estimates of commonality that only the study has: as those of the package, and by hand."""

from collections.abc import Callable

import pytest
import torch
from estimate_checks import (
    check_chunks,
    check_common_and_unique_parts,
    check_equals_slow_loop,
    check_half_precision,
    check_no_gradient,
    check_one_identity_is_finite,
    check_one_vote_per_person,
    check_some_anchors_alone,
    draw,
    rows_of,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import BatchFeature

from benchmarks.method.commonality import ESTIMATES, STUDY_ESTIMATES, register_estimates
from tbps import TBPSConfig, TBPSModel
from tbps.commonality_tbps import COMMONALITY, MOVED_ESTIMATES, AnchorRows, find_estimate
from tbps.ranking_loss_tbps import commonality_margin_ranking

IN_SLOW_LOOPS = ("soft_rank", "entropy", "sigmoid")  # the others look at pairs, or at cosines within a modality
once_per_test = settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the estimates for one test."""
    for name in STUDY_ESTIMATES:
        monkeypatch.delitem(COMMONALITY, name, raising=False)
    for name, estimate in STUDY_ESTIMATES.items():
        monkeypatch.setitem(COMMONALITY, name, estimate)


def test_the_study_registers_what_the_package_says_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(STUDY_ESTIMATES) == set(MOVED_ESTIMATES)
    assert set(ESTIMATES) | {"none"} == set(COMMONALITY)
    for name in STUDY_ESTIMATES:
        monkeypatch.delitem(COMMONALITY, name)
    before = dict(COMMONALITY)
    register_estimates()
    assert {**before, **STUDY_ESTIMATES} == COMMONALITY
    for name in ESTIMATES:
        assert find_estimate(TBPSConfig(commonality=name).commonality) is COMMONALITY[name]


@pytest.mark.parametrize("name", IN_SLOW_LOOPS)
@given(ids=st.lists(st.integers(0, 4), min_size=1, max_size=7), seed=st.integers(0, 99))
@settings(once_per_test, max_examples=25)
def test_equals_a_slow_loop(name: str, ids: list[int], seed: int) -> None:
    check_equals_slow_loop(name, ids, seed)


@pytest.mark.parametrize("name", IN_SLOW_LOOPS)
def test_same_part_for_all_is_common_and_unique_part_is_not(name: str) -> None:
    check_common_and_unique_parts(name)


@pytest.mark.parametrize("name", STUDY_ESTIMATES)
def test_one_identity_only_is_finite(name: str) -> None:
    check_one_identity_is_finite(name)


@pytest.mark.parametrize("name", STUDY_ESTIMATES)
@given(
    ids=st.lists(st.integers(0, 4), min_size=1, max_size=6), times=st.integers(2, 4), seed=st.integers(0, 99),
    trust=st.booleans(),
)  # fmt: skip
@once_per_test
def test_how_often_the_batch_has_a_person_changes_nobodys_commonality(
    name: str, ids: list[int], times: int, seed: int, trust: bool
) -> None:
    check_one_vote_per_person(name, ids, times, seed, trust)


@pytest.mark.parametrize("name", STUDY_ESTIMATES)
def test_some_anchors_alone_are_judged_as_among_all(name: str) -> None:
    check_some_anchors_alone(name)


@pytest.mark.parametrize("name", STUDY_ESTIMATES)
def test_no_gradient_flows_through_the_estimate(name: str) -> None:
    check_no_gradient(name)


@pytest.mark.parametrize("negatives", ["violating", "softened"])
@pytest.mark.parametrize("name", STUDY_ESTIMATES)
@pytest.mark.parametrize("chunk_size", [1, 5, 7, 16])
def test_chunks_change_neither_loss_nor_gradient(name: str, chunk_size: int, negatives: str) -> None:
    check_chunks(name, chunk_size, negatives)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", STUDY_ESTIMATES)
def test_finite_in_half_precision(dtype: torch.dtype, name: str) -> None:
    check_half_precision(name, dtype)


@pytest.mark.parametrize("name", STUDY_ESTIMATES)
def test_trust_of_all_pairs_changes_nothing_and_of_none_costs_nothing(name: str) -> None:
    ids = torch.tensor([0, 1, 1, 2, 3, 3, 3, 4])
    results = []
    for weights in (None, torch.ones(8), torch.zeros(8)):
        text, image = (x.requires_grad_() for x in draw(ids.tolist(), parts=3, seed=1))
        loss = commonality_margin_ranking(text, image, ids, 0.4, 0.05, name, pair_weights=weights)
        results.append((loss.detach(), *torch.autograd.grad(loss, (text, image))))
    for plain, weighted, distrusted in zip(*results, strict=True):
        assert torch.allclose(plain, weighted, rtol=0, atol=1e-6)
        assert torch.equal(distrusted, torch.zeros_like(plain))


@pytest.mark.parametrize("people", [[5, 5, 5, 5], [1, 2, 3, 4], [1, 1, 2, 2]])
@pytest.mark.parametrize("commonality", IN_SLOW_LOOPS)
def test_every_identity_pattern_trains(
    model_factory: Callable[..., TBPSModel], batch: BatchFeature, people: list[int], commonality: str
) -> None:
    model = model_factory(commonality=commonality).train()
    model(**batch, person_ids=torch.tensor(people)).loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_pair_that_could_be_swapped_is_common_and_another_is_not() -> None:
    # person 1 looks like person 0 does; person 2 does not
    similarity = torch.tensor([[[0.9, 0.9, 0.1], [0.9, 0.9, 0.1], [0.1, 0.1, 0.9]]])
    rows = rows_of(similarity, [0, 1, 2])
    look_alike = COMMONALITY["look_alike"](rows)
    assert look_alike[0, 0].tolist() == pytest.approx([1, 1, 0], abs=1e-5)
    pairwise = COMMONALITY["pairwise"](rows)
    assert pairwise[0, 0].tolist() == pytest.approx([0.5, 0.5, 0], abs=1e-5)  # one of the two others looks the same
    assert pairwise[0, 2].tolist() == pytest.approx([0, 0, 0], abs=1e-5)  # nobody looks like person 2


def test_people_resemble_each_other_by_their_texts_or_by_their_images() -> None:
    # 0 and 1 have the same text, 0 and 2 the same image, 3 is like nobody
    text = torch.eye(4)[[0, 0, 1, 2]][:, None]
    image = torch.eye(4)[[0, 1, 0, 3]][:, None]
    ids = torch.arange(4)
    for anchors, candidates in ((text, image), (image, text)):
        rows = AnchorRows(anchors, candidates, anchors, candidates, ids, ids, torch.tensor([0.6]))  # theta 0.8
        pairs = COMMONALITY["resembling_pair"](rows)[0]
        assert pairs[0, 1:].tolist() == pytest.approx([0.982, 0.982, 0], abs=1e-3)  # sigmoid(0.2 / 0.05) = 0.982
        assert pairs[3, :3].tolist() == pytest.approx([0, 0, 0], abs=1e-3)
        assert COMMONALITY["resembling"](rows)[0, 0].item() == pytest.approx(2 / 3, abs=0.02)


def test_parts_that_all_look_the_same_halve_the_margin() -> None:
    parts, ids = torch.ones(3, 1, 1), torch.arange(3)
    rows = AnchorRows(parts, parts, parts, parts, ids, ids, torch.ones(1))
    assert COMMONALITY["resembling_pair"](rows) == pytest.approx(0.5)  # 1 would leave the ranking without a gradient
