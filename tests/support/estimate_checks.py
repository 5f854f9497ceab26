"""Checks that every estimate of commonality must pass, in the package and in the study."""

import math

import pytest
import torch
import torch.nn.functional as F

from tbps.commonality_tbps import COMMONALITY, TEMPERATURE, AnchorRows, batch_positive_mean, positive_cosine
from tbps.ranking_loss_tbps import commonality_margin, commonality_margin_ranking


def rows_of(similarity: torch.Tensor, ids: list[int] | torch.Tensor) -> AnchorRows:
    """All rows of a batch as anchors, whose products with the candidates are the given cosines (K, B, B)."""
    person_ids = torch.as_tensor(ids)
    anchors = similarity.transpose(0, 1)  # (B, K, B)
    candidates = torch.eye(len(person_ids), dtype=similarity.dtype)[:, None, :].expand_as(anchors)
    return both_sides(anchors, candidates, person_ids)


def both_sides(anchors: torch.Tensor, candidates: torch.Tensor, person_ids: torch.Tensor) -> AnchorRows:
    """All pairs of a batch as anchors, the first modality against the second."""
    mean = batch_positive_mean(positive_cosine(anchors, candidates, person_ids), person_ids)
    return AnchorRows(anchors, candidates, anchors, candidates, person_ids, person_ids, mean)


def draw(ids: list[int], parts: int = 2, dim: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit parts (B, K, d) of texts and images."""
    generator = torch.Generator().manual_seed(seed)
    text, image = F.normalize(torch.randn(2, len(ids), parts, dim, generator=generator), dim=-1)
    return text, image


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


def check_equals_slow_loop(name: str, ids: list[int], seed: int) -> None:
    """It equals the slow loop and stays in [0, 1]."""
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


def check_common_and_unique_parts(name: str) -> None:
    """A part that all people share is common, a part that only one person has is not."""
    people = 6
    common = torch.ones(people, people)  # everyone's part is the same vector
    unique = torch.eye(people)  # orthogonal parts: each person's own
    found = COMMONALITY[name](rows_of(torch.stack([common, unique]), torch.arange(people)))
    assert (found[0] > 0.85).all()
    assert (found[1] < 0.1).all()
    margin = commonality_margin(found, margin=0.2, floor=0.05)
    assert margin[0].tolist() == pytest.approx([0.05] * people)
    assert margin[1].tolist() == pytest.approx([0.2] * people, abs=0.02)


def check_one_identity_is_finite(name: str) -> None:
    """A batch of one person gives no NaN."""
    found = COMMONALITY[name](rows_of(torch.ones(1, 3, 3), torch.zeros(3, dtype=torch.long)))
    assert found.isfinite().all()


def check_one_vote_per_person(name: str, ids: list[int], times: int, seed: int, trust: bool) -> None:
    """All pairs of one person are in the batch `times` times instead of once: nobody's commonality changes."""
    generator = torch.Generator().manual_seed(seed)
    text, image = F.normalize(torch.randn(2, len(ids), 2, 4, generator=generator), dim=-1)
    person_ids = torch.tensor(ids)
    weights = torch.rand(len(ids), generator=generator) if trust else None
    again = torch.cat([torch.arange(len(ids)), *[(person_ids == ids[0]).nonzero()[:, 0]] * (times - 1)])
    found = []
    for rows in (torch.arange(len(ids)), again):
        some = (text[rows], image[rows], person_ids[rows], None if weights is None else weights[rows])
        mean = batch_positive_mean(positive_cosine(*some), some[2], some[3])
        batch = AnchorRows(text, image, some[0], some[1], person_ids, some[2], mean, some[3])
        values = COMMONALITY[name](batch)
        found.append(values[..., : len(ids)] if values.ndim == 3 else values)
    assert torch.allclose(*found, atol=1e-5)


def check_some_anchors_alone(name: str) -> None:
    """Some anchors alone get what they get among all."""
    generator = torch.Generator().manual_seed(5)
    ids = torch.tensor([1, 2, 2, 3, 4, 4])
    full = rows_of(torch.rand(2, 6, 6, generator=generator), ids)
    batch = (full.same_modality, full.other_modality, ids[2:4], ids, full.batch_positive_mean)
    some = AnchorRows(full.anchors[2:4], full.partners[2:4], *batch)
    assert torch.allclose(COMMONALITY[name](some), COMMONALITY[name](full)[:, 2:4], atol=1e-6)


def check_no_gradient(name: str) -> None:
    """The loss with the margins of the estimate, set by hand as constants, has the same gradient."""
    generator = torch.Generator().manual_seed(1)
    text, image = F.normalize(torch.randn(2, 5, 1, 4, generator=generator), dim=-1)
    ids, gradients = torch.arange(5), []
    for constant in (False, True):
        anchors = text.clone().requires_grad_()
        if constant:
            similarity = torch.einsum("akd,bkd->kab", anchors, image)
            loss = torch.zeros(())
            mean = positive_cosine(text, image, ids).mean(dim=1)
            pairs = ((text, image, similarity), (image, text, similarity.transpose(1, 2)))
            for same, other, rows in pairs:
                common = COMMONALITY[name](AnchorRows(same, other, same, other, ids, ids, mean))
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


def check_chunks(name: str, chunk_size: int, negatives: str) -> None:
    """Chunks of anchors change neither the ranking loss nor its gradient."""
    ids = [0, 1, 1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 9, 9, 10, 11]
    results = []
    for size in (None, chunk_size):
        text, image = (x.requires_grad_() for x in draw(ids, parts=3, seed=2))
        loss = commonality_margin_ranking(
            text, image, torch.tensor(ids), 0.4, 0.05, name, negatives=negatives, chunk_size=size
        )
        loss.backward()
        results.append((loss.detach(), text.grad, image.grad))
    for plain, chunked in zip(*results, strict=True):
        assert torch.allclose(plain, chunked, atol=1e-6, rtol=1e-5)


def check_half_precision(name: str, dtype: torch.dtype) -> None:
    """The ranking loss of half-precision parts and its gradient are finite."""
    ids = [0, 0, 1, 2, 3, 3]
    text, image = (x.to(dtype).requires_grad_() for x in draw(ids))
    loss = commonality_margin_ranking(text, image, torch.tensor(ids), 0.2, 0.05, name)
    (gradient,) = torch.autograd.grad(loss, text)
    assert loss.isfinite()
    assert gradient.isfinite().all()
