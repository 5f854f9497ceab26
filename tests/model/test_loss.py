"""The training loss: its terms and their sum, the instance loss, and a loss without terms."""

import math
from collections.abc import Callable

import pytest
import torch
from transformers import BatchFeature

from tbps import TBPSConfig, TBPSModel
from tbps.loss_tbps import instance_loss

Factory = Callable[..., TBPSModel]


def test_instance_loss_is_the_mean_of_two_cross_entropies() -> None:
    logits = torch.zeros(3, 5)
    assert float(instance_loss(logits, logits, torch.tensor([0, 4, 2]))) == pytest.approx(math.log(5))


def test_gradcheck_of_instance_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self.double())
    logits = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: instance_loss(x[0], x[1], torch.tensor([0, 3, 1])), logits)


def test_loss_is_the_weighted_sum_of_its_terms(model_factory: Factory, batch: BatchFeature) -> None:
    weights = {
        "global_loss_weight": 0.5,
        "id_loss_weight": 0.25,
        "cmr_loss_weight": 2.0,
        "part_matching_loss_weight": 3,
        "part_independence_loss_weight": 0.75,
        "part_compactness_loss_weight": 1.25,
    }
    early = {"part_image_layer": 0, "part_image_key_layer": 1, "part_text_key_layer": 1}
    model = model_factory(num_identities=3, text_part_weights=True, **weights, **early).train()
    out = model(**batch, person_ids=torch.tensor([0, 1, 2, 2]))
    assert set(out.losses) == {"global", "id", "cmr", "part_matching", "part_independence", "part_compactness"}
    expected = sum(weight * out.losses[name.removesuffix("_loss_weight")] for name, weight in weights.items())
    assert torch.allclose(out.loss, expected)
    out.loss.backward()
    unused = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    # ViT-like details that no output depends on would show here; CLIP towers have none
    assert unused == []


def test_instance_loss_is_left_out_of_evaluation(model_factory: Factory, batch: BatchFeature) -> None:
    model = model_factory(num_identities=3)
    out = model(**batch, person_ids=torch.tensor([100, 101, 102, 103]))  # people never seen
    assert "id" not in out.losses
    assert out.loss.isfinite()
    assert model(**batch, person_ids=torch.arange(4), return_loss=False).loss is None


def test_a_loss_without_terms_is_named(model_factory: Factory, batch: BatchFeature) -> None:
    names = [name for name in TBPSConfig.__annotations__ if name.endswith("_loss_weight")]
    with pytest.raises(ValueError, match="expected one above 0"):
        model_factory(**dict.fromkeys(names, 0.0))(**batch, person_ids=torch.arange(4))
