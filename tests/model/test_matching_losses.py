"""Matching and part losses against closed forms and independent slow loops."""

import math
import statistics
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.matching_losses_tbps import (
    image_text_contrast,
    part_independence,
    part_matching,
    part_spread,
    similarity_distribution_matching,
    triplet_alignment,
)

SCALE = 10.0


def draw_parts(size: int, parts: int = 2, dim: int = 5, seed: int = 0) -> torch.Tensor:
    """Unit parts of texts and of images, (2, B, K, d), in float64."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn((2, size, parts, dim), generator=generator, dtype=torch.float64), dim=-1)


def cosines_of(text: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """(K, B, B)."""
    return torch.einsum("tkd,ikd->kti", text, image)


def draw(ids: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, B) cosines and ids (B,), in float64."""
    return cosines_of(*draw_parts(len(ids), seed=seed))[0], torch.tensor(ids)


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


def slow_tal(similarity: torch.Tensor, ids: list[int], margin: float) -> float:
    total = 0.0
    for matrix in (similarity.tolist(), similarity.T.tolist()):
        for i, row in enumerate(matrix):
            mates = [s for s, person in zip(row, ids, strict=True) if person == ids[i]]
            others = [s for s, person in zip(row, ids, strict=True) if person != ids[i]]
            if not others:
                return 0.0
            weights = slow_softmax([SCALE * s for s in mates])
            positive = sum(w * s for w, s in zip(weights, mates, strict=True))
            negative = math.log(sum(math.exp(SCALE * s) for s in others)) / SCALE
            total += max(0.0, margin - positive + negative) / len(ids)
    return total


def slow_independence(similarity: torch.Tensor, ids: list[int]) -> float:
    cells = [(a, b) for a in range(len(ids)) for b in range(len(ids)) if ids[a] != ids[b]]
    parts = [[float(part[a, b]) for a, b in cells] for part in similarity]
    if len(cells) < 2:
        return 0.0
    squares = [statistics.correlation(x, y) ** 2 for i, x in enumerate(parts) for j, y in enumerate(parts) if i != j]
    return sum(squares) / len(squares)


@given(ids=batches_of_ids, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_fast_losses_equal_slow_loops(ids: list[int], seed: int) -> None:
    similarity, person_ids = draw(ids, seed=seed)
    sdm = similarity_distribution_matching(similarity, person_ids, SCALE)
    assert float(sdm) == pytest.approx(slow_sdm(similarity, ids), rel=1e-4, abs=1e-5)
    itc = image_text_contrast(similarity, person_ids, SCALE)
    assert float(itc) == pytest.approx(slow_itc(similarity, ids), rel=1e-4, abs=1e-5)
    tal = triplet_alignment(similarity, person_ids, SCALE, 0.3)
    assert float(tal) == pytest.approx(slow_tal(similarity, ids, 0.3), rel=1e-4, abs=1e-5)
    parts = draw_parts(len(ids), parts=3, seed=seed)
    independence = part_independence(*parts, person_ids)
    assert float(independence) == pytest.approx(slow_independence(cosines_of(*parts), ids), rel=1e-4, abs=1e-5)


@given(ids=batches_of_ids, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_part_matching_is_sdm_of_the_weighted_sum_of_parts(ids: list[int], seed: int) -> None:
    parts, person_ids = draw_parts(len(ids), seed=seed), torch.tensor(ids)
    cosines = cosines_of(*parts)
    weights = torch.rand(len(ids), 2, generator=torch.Generator().manual_seed(seed)).softmax(dim=1)
    cells = range(len(ids))
    pooled = torch.tensor(
        [[sum(float(weights[t, k] * cosines[k, t, i]) for k in range(2)) for i in cells] for t in cells]
    )
    loss = part_matching(*parts, person_ids, SCALE, weights)
    assert float(loss) == pytest.approx(slow_sdm(pooled, ids), rel=1e-3, abs=1e-4)
    uniform = part_matching(*parts, person_ids, SCALE)
    assert float(uniform) == pytest.approx(slow_sdm(cosines.mean(dim=0), ids), rel=1e-3, abs=1e-4)


@given(ids=st.lists(st.integers(0, 9), min_size=4, max_size=9), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_part_losses_have_the_gradient_of_all_similarities(ids: list[int], seed: int) -> None:
    parts, person_ids = draw_parts(len(ids), parts=3, seed=seed).requires_grad_(), torch.tensor(ids)
    different = person_ids[:, None] != person_ids[None, :]
    if different.sum() < 2:
        return
    cosines = cosines_of(*parts)
    plain = torch.corrcoef(cosines[:, different]).square()
    expected = (plain.sum() - 3) / 6 + image_text_contrast(cosines.mean(dim=0), person_ids, SCALE)
    found = part_independence(*parts, person_ids) + part_matching(*parts, person_ids, SCALE, loss="itc")
    (wanted,), (got,) = (torch.autograd.grad(loss, parts) for loss in (expected, found))
    assert torch.allclose(got, wanted, atol=1e-5)


# -- closed forms


@pytest.mark.parametrize("size", [2, 5, 64])
def test_itc_of_equal_embeddings_is_log_of_the_batch(size: int) -> None:
    loss = image_text_contrast(torch.ones(size, size), torch.arange(size), SCALE)
    assert float(loss) == pytest.approx(math.log(size), rel=1e-5)


def test_itc_with_one_pair_per_identity_is_clip_loss() -> None:
    similarity, ids = draw([4, 2, 7, 1])
    logits, target = SCALE * similarity.float(), torch.arange(4)
    clip = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    assert torch.allclose(image_text_contrast(similarity, ids, SCALE), clip)


def test_sdm_vanishes_where_prediction_equals_truth() -> None:
    ids = torch.tensor([0, 0, 1])
    match = (ids[:, None] == ids[None, :]).float()
    assert float(similarity_distribution_matching(match, ids, 100.0)) == pytest.approx(0, abs=1e-5)


def test_one_identity_only_gives_zero_ranking_and_finite_sdm() -> None:
    similarity, ids = draw([3, 3, 3])
    assert float(triplet_alignment(similarity, ids, SCALE)) == 0
    assert float(part_independence(*draw_parts(3), ids)) == 0
    uniform = similarity_distribution_matching(torch.zeros_like(similarity), ids, SCALE)
    assert float(uniform) == pytest.approx(0, abs=1e-5)  # uniform prediction, uniform truth


def rde_loss(scores: torch.Tensor, ids: torch.Tensor, tau: float, margin: float) -> torch.Tensor:
    """(B,) `compute_TAL_per` of RDE's published code, line by line."""
    labels = (ids[:, None] == ids[None, :]).float()
    terms = []
    for rows in (scores, scores.t()):
        weights = (rows / tau).exp() * labels
        weights = weights / weights.sum(dim=1, keepdim=True)
        negatives = tau * ((rows / tau).exp() * (1 - labels)).sum(1).clamp(max=10e35).log()
        terms.append((-(weights * rows).sum(1) + negatives + margin).clamp(min=0))
    return terms[0] + terms[1]


@given(ids=batches_of_ids.filter(lambda ids: len(set(ids)) > 1), seed=st.integers(0, 99), trusting=st.booleans())
@settings(deadline=None, max_examples=25)
def test_tal_times_the_trusted_pairs_equals_the_published_code(ids: list[int], seed: int, trusting: bool) -> None:
    similarity, person_ids = draw(ids, seed)
    trust = torch.ones(len(ids)) if trusting else (torch.arange(len(ids)) % 2 == 0).float()
    if not trusting:  # a pair that is left out is one of another person, as it is a negative of all others
        person_ids = torch.arange(len(ids))
    expected = (trust * rde_loss(similarity, person_ids, 0.015, 0.1)).sum()
    found = trust.sum() * triplet_alignment(similarity, person_ids, 1 / 0.015, 0.1, pair_weights=trust)
    assert float(found) == pytest.approx(float(expected), rel=1e-4, abs=1e-5)


def test_tal_of_equal_similarities() -> None:
    # the soft maximum of n equal negatives stands log(n) / scale above them
    loss = triplet_alignment(torch.full((5, 5), 0.3), torch.arange(5), SCALE, margin=0.1)
    assert float(loss) == pytest.approx(2 * (0.1 + math.log(4) / SCALE), rel=1e-5)


def test_equal_parts_are_fully_dependent_and_unrelated_ones_are_not() -> None:
    (text, other_text), (image, other_image) = draw_parts(60, dim=16).transpose(1, 2)
    ids = torch.arange(60)
    alike = torch.stack([text, text], dim=1), torch.stack([image, image], dim=1)
    opposed = torch.stack([text, -text], dim=1), torch.stack([image, image], dim=1)
    unrelated = torch.stack([text, other_text], dim=1), torch.stack([image, other_image], dim=1)
    assert float(part_independence(*alike, ids)) == pytest.approx(1, abs=1e-4)
    assert float(part_independence(*opposed, ids)) == pytest.approx(1, abs=1e-4)
    assert float(part_independence(*unrelated, ids)) < 0.02
    assert float(part_independence(text[:, None], image[:, None], ids)) == 0


# -- gradients and precision

LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "sdm": lambda parts, ids: similarity_distribution_matching(cosines_of(*parts)[0], ids, SCALE),
    "itc": lambda parts, ids: image_text_contrast(cosines_of(*parts)[0], ids, SCALE),
    "tal": lambda parts, ids: triplet_alignment(cosines_of(*parts)[0], ids, SCALE),
    "part_matching": lambda parts, ids: part_matching(*parts, ids, SCALE),
    "part_independence": lambda parts, ids: part_independence(*parts, ids),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradcheck(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # the losses work in float32; finite differences need float64
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self.double())
    ids = torch.tensor([0, 1, 1, 2])
    parts = draw_parts(4, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, ids).double(), parts)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_losses_are_finite_in_half_precision(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    text, image = F.normalize(torch.randn(2, 6, 4, 8, generator=generator), dim=-1).to(dtype).requires_grad_()
    ids = torch.tensor([0, 0, 1, 2, 3, 3])
    total = sum(loss(torch.stack([text, image]), ids) for loss in LOSSES.values())
    total += similarity_distribution_matching(text[:, 0] @ image[:, 0].T, ids, 100.0)
    (gradient,) = torch.autograd.grad(total, text)
    assert total.isfinite()
    assert gradient.isfinite().all()


def test_spread_of_attention_by_hand() -> None:
    maps = torch.zeros(1, 4, 4, 2)
    maps[0, 0, 3, 1] = 1  # one patch
    maps[0, 1, 0, 0] = maps[0, 1, 2, 0] = 0.5  # two patches, two apart: a variance of 1 patch squared
    maps[0, 2, 1, 0] = maps[0, 2, 1, 1] = 0.5  # neighbours in a row
    maps[0, 3] = 1 / 8  # everywhere: 5/4 down and 1/4 across
    expected = torch.tensor([[0.0, 1.0, 0.25, 1.5]]) / 4**2  # in heights of four patches
    assert torch.allclose(part_spread(maps), expected)
