"""Trust in pairs, in every loss and in chunks: weights of 1 change nothing, and weights below 1 equal slow loops."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.commonality_tbps import COMMONALITY
from tbps.loss_tbps import instance_loss
from tbps.matching_losses_tbps import MATCHING, part_matching
from tbps.ranking_loss_tbps import NEGATIVES, POSITIVES, commonality_margin_ranking

SCALE = 8.0
Loss = Callable[[torch.Tensor, torch.Tensor, "torch.Tensor | None"], torch.Tensor]


def draw(size: int, seed: int = 0) -> torch.Tensor:
    """Unit parts of texts and of images, (2, B, 3, 4)."""
    return F.normalize(torch.randn(2, size, 3, 4, generator=torch.Generator().manual_seed(seed)), dim=-1)


def cosines(parts: torch.Tensor) -> torch.Tensor:
    return parts[0, :, 0] @ parts[1, :, 0].T


LOSSES: dict[str, Loss] = {
    **{
        name: lambda parts, ids, weights, loss=loss: loss(cosines(parts), ids, SCALE, pair_weights=weights)
        for name, loss in MATCHING.items()
    },
    "part_matching": lambda parts, ids, weights: part_matching(*parts, ids, SCALE, pair_weights=weights),
    "instance": lambda parts, ids, weights: instance_loss(*parts.flatten(2), ids, weights),
    **{
        f"cmr {name} {positives} {negatives} {size}": lambda parts, ids, weights, given=(
            name,
            positives,
            negatives,
            size,
        ): commonality_margin_ranking(
            *parts, ids, 0.4, 0.05, given[0], positives=given[1], negatives=given[2], pair_weights=weights,
            chunk_size=given[3],
        )
        for name, positives, negatives, size in [
            *((name, "mean", "violating", None) for name in COMMONALITY),
            *(("none", positives, negatives, 3) for positives in POSITIVES for negatives in NEGATIVES),
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_full_trust_changes_nothing(name: str) -> None:
    ids = torch.tensor([0, 1, 1, 2, 3, 3, 3, 4])
    results = []
    for weights in (None, torch.ones(8)):
        parts = draw(8, seed=1).requires_grad_()
        loss = LOSSES[name](parts, ids, weights)
        results.append((loss.detach(), *torch.autograd.grad(loss, parts)))
    for plain, weighted in zip(*results, strict=True):
        assert torch.allclose(plain, weighted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_no_trust_at_all_gives_loss_0_and_no_gradient(name: str) -> None:
    ids = torch.tensor([0, 1, 1, 2])
    parts = draw(4).requires_grad_()
    loss = LOSSES[name](parts, ids, torch.zeros(4))
    (gradient,) = torch.autograd.grad(loss, parts)
    assert loss.item() == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("name", [name for name in LOSSES if "cmr" not in name or "cmr none" in name])
@given(
    ids=st.lists(st.integers(0, 3), min_size=3, max_size=7),
    drawn=st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=7, max_size=7),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=8)
def test_equals_slow_loops(name: str, ids: list[int], drawn: list[float], seed: int) -> None:
    kind, *choice = name.split()
    parts, weights = draw(len(ids), seed=seed), drawn[: len(ids)]
    found = float(LOSSES[name](parts, torch.tensor(ids), torch.tensor(weights)))
    if kind == "cmr":
        expected = slow_ranking(parts, ids, weights, *choice[1:3])
    elif kind == "instance":
        expected = slow_instance(parts, ids, weights)
    else:
        matrix = cosines(parts) if kind in MATCHING else torch.einsum("tkd,ikd->ti", *parts) / 3
        expected = slow_matching("sdm" if kind == "part_matching" else kind, matrix, ids, weights)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


# -- independent slow loops: a row's positives are the trusted pairs of its person, its negatives all other people


def softmax(row: list[float]) -> list[float]:
    exps = [math.exp(x - max(row)) for x in row]
    return [x / sum(exps) for x in exps]


def slow_matching(kind: str, matrix: torch.Tensor, ids: list[int], weights: list[float]) -> float:
    if kind == "tal" and len(set(ids)) == 1:
        return 0.0
    row_loss = {"sdm": sdm_row, "itc": itc_row, "tal": tal_row}[kind]
    total = 0.0
    for table in (matrix.tolist(), matrix.T.tolist()):
        for i, row in enumerate(table):
            if weights[i]:
                mates = [j for j in range(len(ids)) if ids[j] == ids[i] and weights[j]]
                others = [j for j in range(len(ids)) if ids[j] != ids[i]]
                trust = {j: weights[j] / sum(weights[m] for m in mates) for j in mates}
                total += weights[i] * row_loss(row, trust, others)
    return total / sum(weights) / (2 if kind == "itc" else 1) if any(weights) else 0.0


def sdm_row(row: list[float], trust: dict[int, float], others: list[int]) -> float:
    cells = [*trust, *others]
    p = softmax([SCALE * row[j] for j in cells])
    return sum(p_j * (math.log(p_j) - math.log(trust.get(j, 0) + 1e-8)) for p_j, j in zip(p, cells, strict=True))


def itc_row(row: list[float], trust: dict[int, float], others: list[int]) -> float:
    p = softmax([SCALE * row[j] for j in [*trust, *others]])
    return -sum(share * math.log(p_j) for share, p_j in zip(trust.values(), p, strict=False))


def tal_row(row: list[float], trust: dict[int, float], others: list[int]) -> float:
    near = [share * math.exp(SCALE * row[j]) for j, share in trust.items()]
    positive = sum(x * row[j] for x, j in zip(near, trust, strict=True)) / sum(near)
    negative = math.log(sum(math.exp(SCALE * row[j]) for j in others)) / SCALE
    return max(0.0, 0.1 - positive + negative)


def slow_instance(parts: torch.Tensor, ids: list[int], weights: list[float]) -> float:
    total = 0.0
    for side in parts.flatten(2).tolist():
        total += sum(-w * math.log(softmax(row)[i]) / 2 for row, i, w in zip(side, ids, weights, strict=True))
    return total / sum(weights) if any(weights) else 0.0


def slow_ranking(parts: torch.Tensor, ids: list[int], weights: list[float], positives: str, negatives: str) -> float:
    total = 0.0
    for anchors, candidates in ((parts[0], parts[1]), (parts[1], parts[0])):
        for k in range(parts.shape[2]):
            hinges, counted = 0.0, 0.0
            for a in range(len(ids)):
                cosine = [float(anchors[a, k] @ candidate[k]) for candidate in candidates]
                mates = [(cosine[j], weights[j]) for j in range(len(ids)) if ids[j] == ids[a] and weights[j]]
                if not weights[a]:
                    continue
                mean = sum(c * w for c, w in mates) / sum(w for _, w in mates)
                bar = {"mean": mean, "hardest": min(mates)[0], "easiest": max(mates)[0]}[positives]
                others = [c for c, person in zip(cosine, ids, strict=True) if person != ids[a]]
                if negatives == "softened":
                    hinges += weights[a] * 0.05 * math.log1p(sum(math.exp((0.4 - bar + c) / 0.05) for c in others))
                    counted += weights[a]
                    continue
                row = [c for c in others if 0.4 - bar + c > 0]
                if negatives == "semi_hard":
                    row = [c for c in row if c < bar]
                elif negatives == "hardest":
                    row = [max(row)] if row else []
                hinges += weights[a] * sum(0.4 - bar + c for c in row)
                counted += weights[a] * len(row)
            total += hinges / counted / parts.shape[2] if counted else 0.0
    return total
