"""One model, many ways to run it: attention backends, compiled, exported, in half precision, placed by accelerate."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, BatchFeature

from tbps import TBPSModel, TBPSProcessor

Factory = Callable[..., TBPSModel]
ATTENTIONS = ["tokens", "both"]


@pytest.fixture
def longer(tiny_processor: TBPSProcessor) -> BatchFeature:
    """A batch of other sizes than `batch`: six texts, more words."""
    text = ["a person with a red coat and a blue coat and a bag and a red bag"] * 5 + ["a bag"]
    batch = tiny_processor(text=text, padding=True, return_tensors="pt")
    pixels = torch.randn(6, 3, 32, 16, generator=torch.Generator().manual_seed(1))
    return BatchFeature({**batch, "pixel_values": pixels})


@torch.no_grad()
@pytest.mark.parametrize(("attention", "backend"), [("tokens", "sdpa"), ("both", "sdpa"), ("both", "flex_attention")])
def test_attention_backends_equal_eager(
    model_factory: Factory, batch: BatchFeature, attention: str, backend: str
) -> None:
    model = model_factory(part_attention=attention, text_part_weights=True)
    model.set_attn_implementation("eager")
    expected = model(**batch)
    model.set_attn_implementation(backend)
    out = model(**batch)
    for name in ("text_embeds", "image_embeds"):
        assert (out[name] - expected[name]).abs().max() < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_compiled_without_graph_breaks(
    model_factory: Factory, batch: BatchFeature, longer: BatchFeature, attention: str
) -> None:
    model = model_factory(part_attention=attention, text_part_weights=True)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=True)  # fullgraph: a break is an error
    for inputs in (batch, longer):
        assert (compiled(**inputs).logits_per_text - model(**inputs).logits_per_text).abs().max() < 1e-4


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_exported_with_any_batch_and_text_length(
    model_factory: Factory, batch: BatchFeature, longer: BatchFeature, attention: str
) -> None:
    model = model_factory(part_attention=attention, text_part_weights=True)
    rows, length = torch.export.Dim("rows", min=1, max=64), torch.export.Dim("length", min=2, max=24)
    sizes = {"input_ids": {0: rows, 1: length}, "attention_mask": {0: rows, 1: length}, "pixel_values": {0: rows}}
    exported = torch.export.export(model, (), dict(batch), dynamic_shapes=sizes, strict=False).module()
    assert batch["input_ids"].shape != longer["input_ids"].shape
    for inputs in (batch, longer):
        assert (exported(**inputs).logits_per_text - model(**inputs).logits_per_text).abs().max() < 1e-4


@torch.no_grad()
def test_loaded_in_half_precision_and_placed(tmp_path: Path, tiny_model: TBPSModel, batch: BatchFeature) -> None:
    tiny_model.save_pretrained(tmp_path)
    expected = tiny_model(**batch).text_embeds
    half = AutoModel.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    inputs = {**batch, "pixel_values": batch["pixel_values"].bfloat16()}
    assert (half(**inputs).text_embeds.float() - expected).abs().max() < 0.05
    placed = AutoModel.from_pretrained(tmp_path, device_map="auto").eval()
    assert (placed(**batch).text_embeds.cpu() - expected).abs().max() < 1e-5
