"""Embedding in chunks: the gradient of the full batch, with the activations of one chunk."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import datasets
import pytest
import torch
from transformers import BatchFeature

from tbps import TBPSModel, TBPSProcessor, TBPSTrainer, TBPSTrainingArguments

Factory = Callable[..., TBPSModel]
PERSON_IDS = torch.tensor([0, 1, 1, 2])


def gradients(model: TBPSModel, batch: BatchFeature, chunk: int | None) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(**batch, person_ids=PERSON_IDS, embed_chunk_size=chunk).loss
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("chunk", [1, 3, 4, 9])
def test_chunks_give_the_gradient_of_the_full_batch(model_factory: Factory, batch: BatchFeature, chunk: int) -> None:
    model = model_factory(num_identities=3, text_part_weights=True).train()
    (full_loss, full), (loss, found) = gradients(model, batch, None), gradients(model, batch, chunk)
    assert loss == pytest.approx(full_loss, rel=1e-5)
    assert full.keys() == found.keys()
    largest = max(value.abs().max() for value in full.values())
    assert all((full[name] - found[name]).abs().max() < 1e-5 * largest for name in full)


def test_dropout_is_replayed(model_factory: Factory, batch: BatchFeature) -> None:
    model = model_factory(tower_dropout=0.5).train()
    chunks = [{name: value[rows] for name, value in batch.items()} for rows in (slice(0, 3), slice(3, 4))]
    torch.manual_seed(7)
    texts = [model.get_text_features(c["input_ids"], c["attention_mask"]) for c in chunks]
    images = [model.get_image_features(c["pixel_values"]) for c in chunks]
    vectors = [torch.cat([side.pooler_output for side in sides]) for sides in (texts, images)]
    (vectors[0] @ vectors[1].T).square().sum().backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    torch.manual_seed(7)
    out = model(**batch, embed_chunk_size=3)
    assert torch.equal(out.text_embeds, vectors[0])
    (out.text_embeds @ out.image_embeds.T).square().sum().backward()
    for name, gradient in expected.items():
        assert torch.allclose(dict(model.named_parameters())[name].grad, gradient, atol=1e-5), name


@contextmanager
def kept_for_backward() -> Iterator[list[int]]:
    """Record the sizes of the tensors that autograd keeps from the forward pass."""
    sizes: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield sizes


def test_activations_are_not_kept(model_factory: Factory, batch: BatchFeature) -> None:
    model = model_factory().train()
    kept = {}
    for chunk in (None, 2):
        with kept_for_backward() as sizes:
            model(**batch, person_ids=PERSON_IDS, embed_chunk_size=chunk)
        kept[chunk] = sum(sizes)
    assert kept[2] < kept[None] / 5


def test_trainer_steps_are_equal_with_and_without_chunks(
    tmp_path: Path, model_factory: Factory, rows: datasets.Dataset, tiny_processor: TBPSProcessor
) -> None:
    weights = []
    for chunk in (None, 4):
        args = TBPSTrainingArguments(
            str(tmp_path), max_steps=2, per_device_train_batch_size=6, embed_chunk_size=chunk, use_cpu=True,
            augment=False, report_to="none", disable_tqdm=True, save_strategy="no", optim="sgd",
        )  # fmt: skip
        model = model_factory()
        TBPSTrainer(model, args, rows, processing_class=tiny_processor).train()
        weights.append(model.state_dict())
    assert all((weights[0][name] - weights[1][name]).abs().max() < 1e-5 for name in weights[0])


def test_a_bad_size_is_named(tiny_model: TBPSModel, batch: BatchFeature) -> None:
    with pytest.raises(ValueError, match="embed_chunk_size=0"):
        tiny_model(**batch, embed_chunk_size=0)
