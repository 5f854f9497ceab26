"""Commonality-based margin ranking against closed forms, a slow loop, and itself in chunks."""

import math

import pytest
import torch
import torch.nn.functional as F
from estimate_checks import check_chunks, check_half_precision, draw
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.commonality_tbps import COMMONALITY
from tbps.ranking_loss_tbps import NEGATIVES, POSITIVES, commonality_margin, commonality_margin_ranking


def parts_of(cosines: list[list[float]]) -> tuple[torch.Tensor, torch.Tensor]:
    """One part whose products text x image are the given ones (not of unit norm, which the loss does not need)."""
    matrix = torch.tensor(cosines)
    return matrix[:, None, :], torch.eye(len(matrix))[:, None, :]


def slow_ranking(
    text: torch.Tensor, image: torch.Tensor, ids: list[int], margin: float, positives: str, negatives: str
) -> float:
    pick = {"mean": lambda x: sum(x) / len(x), "hardest": min, "easiest": max}[positives]
    total = 0.0
    for anchors, candidates in ((text, image), (image, text)):
        means = []
        for k in range(text.shape[1]):
            hinges = []
            for a, person in enumerate(ids):
                cosines = [float(anchors[a, k] @ candidate[k]) for candidate in candidates]
                positive = pick([c for c, other in zip(cosines, ids, strict=True) if other == person])
                others = [c for c, other in zip(cosines, ids, strict=True) if other != person]
                row = [(c, margin - positive + c) for c in others if margin - positive + c > 0]
                if negatives == "semi_hard":
                    row = [(c, hinge) for c, hinge in row if c < positive]
                elif negatives == "hardest" and row:
                    row = [max(row)]
                if negatives == "softened":
                    hinges.append(0.05 * math.log1p(sum(math.exp((margin - positive + c) / 0.05) for c in others)))
                else:
                    hinges += [hinge for _, hinge in row]
            means.append(sum(hinges) / len(hinges) if hinges else 0.0)
        total += sum(means) / len(means)
    return total


@pytest.mark.parametrize("positives", POSITIVES)
@pytest.mark.parametrize("negatives", NEGATIVES)
@given(ids=st.lists(st.integers(0, 3), min_size=1, max_size=7), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=15)
def test_equals_a_slow_loop(positives: str, negatives: str, ids: list[int], seed: int) -> None:
    text, image = draw(ids, seed=seed)
    found = commonality_margin_ranking(
        text, image, torch.tensor(ids), 0.3, 0.3, "none", positives=positives, negatives=negatives
    )
    expected = slow_ranking(text, image, ids, 0.3, positives, negatives)
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("negatives", ["violating", "softened"])
@pytest.mark.parametrize("name", COMMONALITY)
@pytest.mark.parametrize("chunk_size", [1, 5, 7, 16])
def test_chunks_change_neither_loss_nor_gradient(name: str, chunk_size: int, negatives: str) -> None:
    check_chunks(name, chunk_size, negatives)


def test_satisfied_margins_give_loss_0_and_no_gradient() -> None:
    text, image = parts_of([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    loss = commonality_margin_ranking(text.requires_grad_(), image, torch.arange(3), 0.9, 0.9, "none")
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(text.grad, torch.zeros_like(text))


def test_hinge_of_a_hand_made_pair() -> None:
    # text anchors: only the first violates a margin of 0.3, by 0.2; of the image anchors neither does
    loss = commonality_margin_ranking(*parts_of([[0.5, 0.4], [0.0, 1.0]]), torch.tensor([0, 1]), 0.3, 0.3, "none")
    assert float(loss) == pytest.approx(0.2)


def test_images_of_one_person_are_positives_and_never_negatives() -> None:
    # images 0 and 1 show person 7: the text of image 0 is closer to image 1, which costs nothing by itself
    text, image = parts_of([[0.2, 0.9, 0.1], [0.9, 0.2, 0.1], [0.1, 0.1, 0.9]])
    loss = commonality_margin_ranking(text.requires_grad_(), image, torch.tensor([7, 7, 9]), 0.6, 0.6, "none")
    loss.backward()
    assert loss.item() == pytest.approx(2 * (0.6 - (0.2 + 0.9) / 2 + 0.1))  # positive: the mean of both images
    assert text.grad[0, 0, 1] < 0  # more alike to the person's other image: lower loss
    assert text.grad[0, 0, 2] > 0


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_one_identity_only_gives_loss_0(negatives: str) -> None:
    text, image = (x.requires_grad_() for x in draw([3, 3, 3]))
    loss = commonality_margin_ranking(text, image, torch.tensor([3, 3, 3]), 0.2, 0.05, negatives=negatives)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(text.grad, torch.zeros_like(text))


def test_softened_is_infonce_of_a_true_pair_with_a_margin() -> None:
    text, image = draw(list(range(6)))
    ids = torch.arange(6)
    found = commonality_margin_ranking(text, image, ids, 0.2, 0.2, "none", negatives="softened")
    logits = torch.einsum("akd,bkd->kab", text, image) / 0.05 + 0.2 / 0.05 * (1 - torch.eye(6))
    expected = sum(0.05 * F.cross_entropy(x.flatten(0, 1), ids.repeat(2)) for x in (logits, logits.mT))
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_softened_negatives_do_not_settle_where_all_parts_are_alike() -> None:
    """The mean over violating negatives is the margin there, whatever their number; softened, it grows with them."""
    alike = torch.ones(8, 1, 1), torch.ones(8, 1, 1)
    plain, soft = (
        float(commonality_margin_ranking(*alike, torch.arange(8), 0.3, 0.3, "none", negatives=negatives))
        for negatives in ("violating", "softened")
    )
    assert plain == pytest.approx(2 * 0.3)
    assert soft == pytest.approx(2 * 0.05 * math.log(1 + 7 * math.exp(0.3 / 0.05)))


def test_margin_follows_commonality_down_to_its_floor() -> None:
    margin = commonality_margin(torch.tensor([0.0, 0.5, 0.9, 1.0]), margin=0.2, floor=0.05)
    assert margin.tolist() == pytest.approx([0.2, 0.1, 0.05, 0.05])


def test_gradcheck(monkeypatch: pytest.MonkeyPatch) -> None:
    # the loss works in float32; finite differences need float64
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self.double())
    text, image = (x.to(torch.float64).requires_grad_() for x in draw([0, 1, 1, 2], seed=3))
    ids = torch.tensor([0, 1, 1, 2])
    assert torch.autograd.gradcheck(
        lambda t, i: commonality_margin_ranking(t, i, ids, 0.4, 0.05, "none", chunk_size=3), (text, image)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", COMMONALITY)
def test_finite_in_half_precision(dtype: torch.dtype, name: str) -> None:
    check_half_precision(name, dtype)
