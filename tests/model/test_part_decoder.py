"""Attention of part queries: normalisations by hand and against slow loops, masks, keys, and stripes."""

import math
from collections.abc import Callable

import pytest
import torch
from transformers import BatchFeature

from tbps import TBPSModel
from tbps.part_decoder_tbps import NORMALISATION

Factory = Callable[..., TBPSModel]


def slow(name: str, scores: list[list[float]], content: list[bool]) -> list[list[float]]:
    """(K, N) scores -> (K, N) weights, entry by entry."""
    parts, tokens = range(len(scores)), [n for n, kept in enumerate(content) if kept]
    raw = [[0.0] * len(content) for _ in parts]
    for k in parts:
        for n in tokens:
            over_tokens = math.exp(scores[k][n]) / sum(math.exp(scores[k][j]) for j in tokens)
            over_parts = math.exp(scores[k][n]) / sum(math.exp(scores[j][n]) for j in parts)
            raw[k][n] = {"tokens": over_tokens, "parts": over_parts, "both": over_tokens * over_parts}[name]
    return [[weight / sum(row) for weight in row] for row in raw]


@pytest.mark.parametrize("name", NORMALISATION)
def test_normalisation_equals_a_slow_loop(name: str) -> None:
    scores = torch.randn(2, 1, 3, 5, generator=torch.Generator().manual_seed(0))
    content = torch.tensor([[True, True, False, True, True], [False, True, False, False, True]])
    weights = NORMALISATION[name](scores, content[:, None, None, :])
    assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 1, 3))
    for row in range(2):
        expected = torch.tensor(slow(name, scores[row, 0].tolist(), content[row].tolist()))
        assert torch.allclose(weights[row, 0], expected, atol=1e-6)


def test_parts_share_a_token_only_where_they_do_not_compete() -> None:
    # both parts look for token 0, the first one more so
    scores, content = torch.tensor([[[[9.0, 0.0], [6.0, 0.0]]]]), torch.ones(1, 1, 1, 2, dtype=torch.bool)
    assert NORMALISATION["tokens"](scores, content)[0, 0, 1, 0] > 0.99
    assert NORMALISATION["parts"](scores, content)[0, 0, 1, 0] < 0.1


@pytest.mark.parametrize("name", NORMALISATION)
def test_extreme_scores_give_no_nan(name: str) -> None:
    scores = torch.tensor([[[[1e4, -1e4], [1e4, -1e4], [-1e4, -1e4]]]])
    weights = NORMALISATION[name](scores, torch.ones(1, 1, 1, 2, dtype=torch.bool))
    assert weights.isfinite().all()


@pytest.mark.parametrize("name", NORMALISATION)
def test_parts_look_at_content_only_and_padding_changes_nothing(
    model_factory: Factory, batch: BatchFeature, name: str
) -> None:
    model = model_factory(part_attention=name, text_part_weights=True)
    out = model(**batch, output_part_attentions=True)
    assert torch.allclose(out.text_part_attentions.sum(dim=-1), torch.ones(4, 3), atol=1e-5)
    assert torch.allclose(out.image_part_attentions.sum(dim=(-1, -2)), torch.ones(4, 3), atol=1e-5)
    assert out.text_part_attentions.masked_select(batch["attention_mask"][:, None] == 0).abs().max() == 0
    longer = {key: torch.nn.functional.pad(batch[key], (0, 3)) for key in ("input_ids", "attention_mask")}
    padded = model.get_text_features(**longer)
    assert torch.allclose(padded.part_embeds, out.text_part_embeds, atol=1e-5)
    assert torch.allclose(padded.part_weights, out.text_part_weights, atol=1e-5)


def test_parts_read_the_configured_layer(model_factory: Factory, batch: BatchFeature) -> None:
    model = model_factory(part_image_layer=0)
    before = model.get_image_features(batch["pixel_values"])
    with torch.no_grad():
        for layer in model.vision_model.encoder.layers:
            for weight in layer.parameters():
                weight.mul_(1.5)
    after = model.get_image_features(batch["pixel_values"])
    assert torch.equal(before.part_embeds, after.part_embeds)  # the tower's input does not pass the layers
    assert not torch.allclose(before.global_embeds, after.global_embeds)
    assert before.hidden_states is None
    assert len(model.get_image_features(batch["pixel_values"], output_hidden_states=True).hidden_states) == 3


def test_keys_choose_what_is_read(model_factory: Factory, batch: BatchFeature) -> None:
    fields = {"part_image_layer": 1, "part_image_key_layer": 0, "part_text_key_layer": 0, "decoder_layers": 1}
    model = model_factory(**fields)
    before = model(**batch, output_part_attentions=True)
    with torch.no_grad():
        for layer in (*model.vision_model.encoder.layers, *model.text_model.encoder.layers):
            for weight in layer.parameters():
                weight.mul_(1.5)
    after = model(**batch, output_part_attentions=True)
    for side in ("text", "image"):  # the keys come before the layers that changed, what is read after
        assert torch.equal(before[f"{side}_part_attentions"], after[f"{side}_part_attentions"])
        assert not torch.allclose(before[f"{side}_part_embeds"], after[f"{side}_part_embeds"])
    assert before.text_model_output.hidden_states is None
    assert len(model.get_text_features(batch["input_ids"], output_hidden_states=True).hidden_states) == 3


def test_separate_keys_equal_plain_attention_if_they_are_the_tokens(model_factory: Factory) -> None:
    attention = model_factory().part_decoder.layers[0].cross_attn
    queries, tokens = torch.randn(2, 3, 24), torch.randn(2, 5, 24)
    content = torch.ones(2, 5, dtype=torch.bool)
    plain, _ = attention(queries, tokens, content, True)
    same, _ = attention(queries, tokens, content, True, tokens.clone())
    other, weights = attention(queries, tokens, content, True, tokens.flip(1))
    assert torch.allclose(plain, same)
    swapped, found = attention(queries, tokens.flip(1), content, True)
    assert torch.allclose(weights, found)  # chosen by the keys alone
    assert not torch.allclose(other, swapped)


def test_striped_parts_start_out_at_their_stripes(model_factory: Factory, batch: BatchFeature) -> None:
    model = model_factory(part_stripes=2, decoder_layers=1)  # a grid of 4 x 2, of K = 3 parts the last one anywhere
    with torch.no_grad():
        model.part_decoder.layers[0].cross_attn.q_proj.weight.zero_()
        model.part_decoder.layers[0].cross_attn.q_proj.bias.zero_()
    attention = model.get_image_features(batch["pixel_values"], output_part_attentions=True).part_attentions
    distances = [-0.25, 0.25, 0.75, 1.25]  # of the middles of the rows from the middle of the first stripe, in stripes
    first = torch.tensor([math.exp(-(d**2)) for d in distances])
    expected = torch.stack([first / first.sum(), first.flip(0) / first.sum(), torch.full((4,), 0.25)])
    assert torch.allclose(attention.sum(dim=3), expected.expand(4, 3, 4), atol=1e-5)
    assert torch.allclose(attention[..., 0], attention[..., 1], atol=1e-6)
    texts = model.get_text_features(batch["input_ids"], batch["attention_mask"], output_part_attentions=True)
    read = texts.part_attentions  # sentences have no stripes: each word is read alike
    assert torch.allclose(read, (read > 0) / (read > 0).sum(dim=2, keepdim=True), atol=1e-6)


@pytest.mark.parametrize("name", NORMALISATION)
def test_places_steer_the_fused_kernel_and_the_plain_one_alike(
    model_factory: Factory, batch: BatchFeature, name: str
) -> None:
    model = model_factory(part_stripes=3, part_attention=name)
    model.part_decoder.place_bias.data = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    fast = model.get_image_features(batch["pixel_values"]).part_embeds
    plain = model.get_image_features(batch["pixel_values"], output_part_attentions=True).part_embeds
    assert torch.allclose(fast, plain, atol=1e-5)
    slopes = [torch.autograd.grad(out.square().sum(dim=-1).sum() + out[..., 0].sum(), model.part_decoder.place_bias)[0]
              for out in (fast, plain)]  # fmt: skip
    assert slopes[0].abs().max() > 0
    assert torch.allclose(slopes[0], slopes[1], atol=1e-5)
