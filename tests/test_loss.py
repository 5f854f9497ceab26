"""The losses against closed forms and independent slow loops."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.loss_tbps import (
    commonality_margin,
    commonality_margin_ranking,
    image_text_contrast,
    instance_loss,
    margin_ranking,
    part_matching,
    part_similarity,
    similarity_distribution_matching,
)

SCALE = 10.0


def draw(
    ids: list[int], parts: int = 2, dim: int = 5, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(K, B, B) part cosines, (B, B) global cosines, ids (B,), in float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, len(ids), parts, dim)
    text, image = F.normalize(torch.randn(shape, generator=generator, dtype=torch.float64), dim=-1)
    similarity = torch.einsum("tkd,ikd->kti", text, image)
    return similarity, similarity[0], torch.tensor(ids)


batches_of_ids = st.lists(st.integers(0, 4), min_size=1, max_size=7)


# -- independent slow loops


def slow_softmax(row: list[float]) -> list[float]:
    top = max(row)
    exps = [math.exp(x - top) for x in row]
    return [x / sum(exps) for x in exps]


def slow_sdm(similarity: torch.Tensor, ids: list[int]) -> float:
    total = 0.0
    for matrix in (similarity.tolist(), similarity.T.tolist()):
        for i, row in enumerate(matrix):
            p = slow_softmax([SCALE * s for s in row])
            count = sum(j == ids[i] for j in ids)
            for j, p_j in enumerate(p):
                q = (1 / count if ids[j] == ids[i] else 0.0) + 1e-8
                total += p_j * (math.log(p_j) - math.log(q)) / len(ids)
    return total


def slow_itc(similarity: torch.Tensor, ids: list[int]) -> float:
    total = 0.0
    for matrix in (similarity.tolist(), similarity.T.tolist()):
        for i, row in enumerate(matrix):
            p = slow_softmax([SCALE * s for s in row])
            mates = [j for j in range(len(ids)) if ids[j] == ids[i]]
            total -= sum(math.log(p[j]) for j in mates) / len(mates) / len(ids) / 2
    return total


def slow_margin_ranking(similarity: torch.Tensor, ids: list[int], margin: torch.Tensor) -> float:
    means = []
    for k, matrix in enumerate(similarity.tolist()):
        hinges = []
        for a in range(len(ids)):
            mates = [matrix[a][j] for j in range(len(ids)) if ids[j] == ids[a]]
            positive = sum(mates) / len(mates)
            for n in range(len(ids)):
                if ids[n] != ids[a]:
                    hinge = float(margin[k, a]) - positive + matrix[a][n]
                    if hinge > 0:
                        hinges.append(hinge)
        means.append(sum(hinges) / len(hinges) if hinges else 0.0)
    return sum(means) / len(means)


@given(ids=batches_of_ids, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_fast_losses_equal_slow_loops(ids: list[int], seed: int) -> None:
    parts, similarity, person_ids = draw(ids, seed=seed)
    margin = torch.rand(2, len(ids), generator=torch.Generator().manual_seed(seed)) * 0.5
    sdm = similarity_distribution_matching(similarity, person_ids, SCALE)
    assert float(sdm) == pytest.approx(slow_sdm(similarity, ids), rel=1e-4, abs=1e-5)
    itc = image_text_contrast(similarity, person_ids, SCALE)
    assert float(itc) == pytest.approx(slow_itc(similarity, ids), rel=1e-4, abs=1e-5)
    ranking = margin_ranking(parts, person_ids, margin)
    assert float(ranking) == pytest.approx(slow_margin_ranking(parts, ids, margin), rel=1e-4, abs=1e-5)


@given(ids=batches_of_ids, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_part_matching_is_sdm_of_the_weighted_sum_of_parts(ids: list[int], seed: int) -> None:
    parts, _, person_ids = draw(ids, seed=seed)
    weights = torch.rand(len(ids), 2, generator=torch.Generator().manual_seed(seed)).softmax(dim=1)
    cells = range(len(ids))
    pooled = torch.tensor(
        [[sum(float(weights[t, k] * parts[k, t, i]) for k in range(2)) for i in cells] for t in cells]
    )
    loss = part_matching(parts.float(), person_ids, SCALE, weights)
    assert float(loss) == pytest.approx(slow_sdm(pooled, ids), rel=1e-3, abs=1e-4)
    uniform = part_matching(parts, person_ids, SCALE)
    assert float(uniform) == pytest.approx(slow_sdm(parts.mean(dim=0), ids), rel=1e-3, abs=1e-4)


# -- closed forms


@pytest.mark.parametrize("size", [2, 5, 64])
def test_itc_of_equal_embeddings_is_log_of_the_batch(size: int) -> None:
    loss = image_text_contrast(torch.ones(size, size), torch.arange(size), SCALE)
    assert float(loss) == pytest.approx(math.log(size), rel=1e-5)


def test_itc_of_identities_all_alone_is_clip_loss() -> None:
    _, similarity, ids = draw([4, 2, 7, 1])
    logits, target = SCALE * similarity.float(), torch.arange(4)
    clip = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    assert torch.allclose(image_text_contrast(similarity, ids, SCALE), clip)


def test_sdm_vanishes_where_prediction_equals_truth() -> None:
    ids = torch.tensor([0, 0, 1])
    match = (ids[:, None] == ids[None, :]).float()
    assert float(similarity_distribution_matching(match, ids, 100.0)) == pytest.approx(0, abs=1e-5)


def test_one_identity_only_gives_zero_ranking_and_finite_sdm() -> None:
    parts, similarity, _ = draw([3, 3, 3])
    ids = torch.tensor([3, 3, 3])
    assert float(commonality_margin_ranking(parts, ids, 0.2, 0.05)) == 0
    uniform = similarity_distribution_matching(torch.zeros_like(similarity), ids, SCALE)
    assert float(uniform) == pytest.approx(0, abs=1e-5)  # uniform prediction, uniform truth


def test_instance_loss_is_the_mean_of_two_cross_entropies() -> None:
    logits = torch.zeros(3, 5)
    assert float(instance_loss(logits, logits, torch.tensor([0, 4, 2]))) == pytest.approx(math.log(5))


def test_satisfied_margins_cost_nothing_and_give_no_gradient() -> None:
    similarity = torch.eye(3).expand(2, 3, 3).clone().requires_grad_()
    loss = commonality_margin_ranking(similarity, torch.arange(3), margin=0.9, floor=0.9)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(similarity.grad, torch.zeros(2, 3, 3))


def test_hinge_of_a_hand_made_pair() -> None:
    # s(0,0)=.5 s(0,1)=.4, s(1,0)=0 s(1,1)=1: only anchor 0 violates a margin of 0.3, by 0.2
    similarity = torch.tensor([[[0.5, 0.4], [0.0, 1.0]]])
    loss = margin_ranking(similarity, torch.tensor([0, 1]), torch.full((1, 2), 0.3))
    assert float(loss) == pytest.approx(0.2)


def test_images_of_one_person_are_positives_and_never_negatives() -> None:
    # images 0 and 1 show person 7: the text of image 0 is closer to image 1, which costs nothing by itself
    similarity = torch.tensor([[[0.2, 0.9, 0.1], [0.9, 0.2, 0.1], [0.1, 0.1, 0.9]]]).requires_grad_()
    loss = margin_ranking(similarity, torch.tensor([7, 7, 9]), torch.full((1, 3), 0.6))
    loss.backward()
    assert loss.item() == pytest.approx(0.6 - (0.2 + 0.9) / 2 + 0.1)  # positive: the mean of both images
    assert similarity.grad[0, 0, 1] < 0  # more alike to the person's other image: lower loss
    assert similarity.grad[0, 0, 2] > 0


def test_margin_follows_commonality_down_to_its_floor() -> None:
    margin = commonality_margin(torch.tensor([0.0, 0.5, 0.9, 1.0]), margin=0.2, floor=0.05)
    assert margin.tolist() == pytest.approx([0.2, 0.1, 0.05, 0.05])


# -- gradients and precision

LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "sdm": lambda s, ids: similarity_distribution_matching(s[0], ids, SCALE),
    "itc": lambda s, ids: image_text_contrast(s[0], ids, SCALE),
    "part_matching": lambda s, ids: part_matching(s, ids, SCALE),
    "cmr": lambda s, ids: commonality_margin_ranking(s, ids, 0.4, 0.05, "none"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradcheck(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # the losses work in float32; finite differences need float64
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self.double())
    similarity, _, ids = draw([0, 1, 1, 2], seed=3)
    assert torch.autograd.gradcheck(lambda s: LOSSES[name](s, ids).double(), similarity.requires_grad_())


def test_gradcheck_of_instance_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self.double())
    logits = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: instance_loss(x[0], x[1], torch.tensor([0, 3, 1])), logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_are_finite_in_half_precision(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    text, image = F.normalize(torch.randn(2, 6, 4, 8, generator=generator), dim=-1).to(dtype).requires_grad_()
    ids = torch.tensor([0, 0, 1, 2, 3, 3])
    parts = part_similarity(text, image)
    total = sum(loss(parts, ids) for loss in LOSSES.values()) + commonality_margin_ranking(parts, ids, 0.2, 0.05)
    total += similarity_distribution_matching(text[:, 0] @ image[:, 0].T, ids, 100.0)
    (gradient,) = torch.autograd.grad(total, text)
    assert total.isfinite()
    assert gradient.isfinite().all()
