"""The model itself: shapes, the retrieval vector, invariances, one modality alone, training, bad input."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from transformers import BatchFeature

from tbps import TBPSModel, TBPSProcessor
from tbps.part_decoder_tbps import content_mask
from tbps.towers_tbps import ConvStem

D, K, D_PART = 24, 3, 8
Factory = Callable[..., TBPSModel]


def test_shapes_and_unit_norms(tiny_model: TBPSModel, batch: BatchFeature) -> None:
    out = tiny_model(**batch)
    for side in ("text", "image"):
        assert out[f"{side}_embeds"].shape == (4, D + K * D_PART)
        assert out[f"{side}_global_embeds"].shape == (4, D)
        assert out[f"{side}_part_embeds"].shape == (4, K, D_PART)
        for name in ("embeds", "global_embeds", "part_embeds"):
            norms = out[f"{side}_{name}"].norm(dim=-1)
            assert torch.allclose(norms, torch.ones_like(norms), atol=1e-6)
    assert out.loss is None
    assert torch.equal(out.logits_per_image, out.logits_per_text.T)


@pytest.mark.parametrize("text_part_weights", [False, True])
@pytest.mark.parametrize("part_weight", [0.0, 0.3, 0.9])
def test_retrieval_vector_is_the_weighted_sum_of_cosines(
    model_factory: Factory, batch: BatchFeature, part_weight: float, text_part_weights: bool
) -> None:
    model = model_factory(part_weight=part_weight, text_part_weights=text_part_weights)
    out = model(**batch)
    weights = out.text_part_weights if text_part_weights else torch.full((4, K), 1 / K)
    assert torch.allclose(weights.sum(dim=1), torch.ones(4))
    for t in range(4):
        for i in range(4):
            cosines = F.cosine_similarity(out.text_part_embeds[t], out.image_part_embeds[i], dim=1)  # (K,)
            parts = (weights[t] * cosines).sum()
            full = F.cosine_similarity(out.text_global_embeds[t], out.image_global_embeds[i], dim=0)
            expected = (1 - part_weight) * full + part_weight * parts
            assert torch.allclose(out.text_embeds[t] @ out.image_embeds[i], expected, atol=1e-6)
    assert torch.allclose(out.logits_per_text, model.logit_scale.exp() * out.text_embeds @ out.image_embeds.T)


def test_one_modality_alone(tiny_model: TBPSModel, batch: BatchFeature) -> None:
    both = tiny_model(**batch)
    text = tiny_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    image = tiny_model(pixel_values=batch["pixel_values"])
    assert text.image_embeds is None
    assert image.text_embeds is None
    assert image.logits_per_text is None
    assert torch.equal(text.text_embeds, both.text_embeds)
    assert torch.equal(image.image_embeds, both.image_embeds)
    features = tiny_model.get_image_features(batch["pixel_values"])
    assert torch.equal(features.pooler_output, both.image_embeds)
    features = tiny_model.get_text_features(batch["input_ids"], batch["attention_mask"])
    assert torch.equal(features.pooler_output, both.text_embeds)


@torch.no_grad()
def test_padding_batch_size_and_order_change_nothing(
    tiny_model: TBPSModel, tiny_processor: TBPSProcessor, batch: BatchFeature, sentences: list[str]
) -> None:
    out = tiny_model(**batch)
    longest = tiny_processor(text=sentences, padding="max_length", return_tensors="pt")
    assert longest["input_ids"].shape[1] > batch["input_ids"].shape[1]
    padded = tiny_model(**longest)
    assert (padded.text_embeds - out.text_embeds).abs().max() < 1e-5
    order = [2, 0, 3, 1]
    shuffled = tiny_model(**{name: value[order] for name, value in batch.items()})
    for i in range(4):
        alone = tiny_processor(text=sentences[i], return_tensors="pt")
        single = tiny_model(**alone, pixel_values=batch["pixel_values"][i : i + 1])
        for side in ("text", "image"):
            full = out[f"{side}_embeds"][i]
            assert (single[f"{side}_embeds"][0] - full).abs().max() < 1e-5
            assert (shuffled[f"{side}_embeds"][order.index(i)] - full).abs().max() < 1e-5


@torch.no_grad()
def test_padding_without_a_mask_and_with_another_id(tiny_model: TBPSModel, batch: BatchFeature) -> None:
    ids = F.pad(batch["input_ids"], (0, 4), value=7)  # what follows the end token is padding, whatever its id
    unmasked = tiny_model(input_ids=ids).text_embeds
    assert (unmasked - tiny_model(**batch).text_embeds).abs().max() < 1e-5


def test_part_attention_reads_words_and_patches_only(tiny_model: TBPSModel, batch: BatchFeature) -> None:
    out = tiny_model(**batch, output_part_attentions=True)
    assert out.image_part_attentions.shape == (4, K, 4, 2)  # 32x16 pixels in patches of 8
    assert out.text_part_attentions.shape == (4, K, batch["input_ids"].shape[1])
    assert torch.allclose(out.image_part_attentions.sum(dim=(2, 3)), torch.ones(4, K), atol=1e-5)
    assert torch.allclose(out.text_part_attentions.sum(dim=2), torch.ones(4, K), atol=1e-5)
    config = tiny_model.config
    words = content_mask(batch["input_ids"], batch["attention_mask"], config.masked_token_ids, 1)
    assert words.sum(dim=1).min() > 0
    assert out.text_part_attentions.masked_fill(words[:, None], 0).abs().max() == 0
    plain = tiny_model(**batch)
    assert (plain.text_embeds - out.text_embeds).abs().max() < 1e-6  # fused attention equals the explained one
    assert plain.text_part_attentions is None


def test_content_mask_by_hand() -> None:
    ids = torch.tensor([[0, 5, 6, 1, 1], [0, 5, 1, 9, 9]])  # 0 begins, 1 ends
    expected = [[False, True, True, False, False], [False, True, False, False, False]]
    assert content_mask(ids, None, [0, 1], 1).tolist() == expected
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0]])
    assert content_mask(ids, mask, [0], None).tolist() == [[False, True, False, False, False],
                                                           [False, True, True, False, False]]  # fmt: skip


@torch.no_grad()
def test_a_text_without_words_gives_no_nan(tiny_model: TBPSModel) -> None:
    assert tiny_model(input_ids=torch.tensor([[0, 1]])).text_embeds.isfinite().all()


@pytest.mark.parametrize(("size", "patch"), [([24, 8], 4), ([16, 48], 8), (32, 16), ([30, 14], 5)])
def test_any_image_size(model_factory: Factory, size: list[int] | int, patch: int) -> None:
    vision = {"model_type": "clip_vision_model", "hidden_size": 40, "intermediate_size": 8, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": size, "patch_size": patch}  # fmt: skip
    model = model_factory(vision_config=vision)
    height, width = model.config.image_size
    out = model(pixel_values=torch.zeros(2, 3, height, width), output_part_attentions=True)
    assert out.image_part_attentions.shape[2:] == (height // patch, width // patch)
    with pytest.raises(ValueError, match=rf"3, {height + 1}, {width}\).*made for images .*3, {height}, {width}\)"):
        model(pixel_values=torch.zeros(1, 3, height + 1, width))


def test_conv_stem_shrinks_the_image_before_the_tower(model_factory: Factory, batch: BatchFeature) -> None:
    vision = {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 8, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": [8, 4], "patch_size": 2, "num_channels": 6}  # fmt: skip
    model = model_factory(vision_config=vision, stem_channels=[4, 6])
    assert model.config.image_size == (32, 16)
    assert model.config.stem_channels == [4, 6]
    out = model(**batch, output_part_attentions=True)
    assert out.image_part_attentions.shape == (4, K, 4, 2)
    alone = model(pixel_values=batch["pixel_values"][:1])
    assert (alone.image_embeds[0] - out.image_embeds[0]).abs().max() < 1e-5


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_place_of_the_stem_sees_its_own_square_of_the_image(depth: int) -> None:
    stem = ConvStem([2] * depth)
    for layer in stem:
        if isinstance(layer, nn.GroupNorm):  # it reads the full image
            layer.forward = nn.Identity().forward
    image = torch.rand(1, 3, 64, 32, requires_grad=True)
    size = 2**depth
    stem(image)[0, :, 3, 2].sum().backward()
    seen = image.grad[0].abs().sum(dim=0)
    for place, along in ((3, seen.sum(dim=1)), (2, seen.sum(dim=0))):
        touched = along.nonzero()[:, 0].float()
        middle = (touched[0] + touched[-1] + 1) / 2  # in pixels
        assert abs(middle - (place + 0.5) * size) == 0.5


def test_towers_of_another_family(model_factory: Factory, pictures: list[Image.Image]) -> None:
    size = {"hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {"model_type": "vit", "image_size": [32, 16], "patch_size": 8, **size}
    text = {"model_type": "bert", "vocab_size": 50, "pad_token_id": 0, **size}
    model = model_factory(vision_config=vision, text_config=text, special_token_ids=[0, 1, 2])
    ids, mask = torch.tensor([[1, 9, 8, 2, 0], [1, 5, 6, 7, 2]]), torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    out = model(ids, torch.zeros(2, 3, 32, 16), mask, output_part_attentions=True)
    assert out.text_part_attentions[0, :, [0, 3, 4]].abs().max() == 0
    assert out.image_part_attentions.shape == (2, K, 4, 2)


# -- training


def test_the_similarity_scale_is_not_trained(model_factory: Factory) -> None:
    assert not model_factory().logit_scale.requires_grad


@pytest.mark.parametrize("people", [[5, 5, 5, 5], [1, 2, 3, 4], [1, 1, 2, 2]])
@pytest.mark.parametrize("commonality", ["none", "mean_similarity", "all_views"])
def test_every_identity_pattern_trains(
    model_factory: Factory, batch: BatchFeature, people: list[int], commonality: str
) -> None:
    model = model_factory(commonality=commonality).train()
    model(**batch, person_ids=torch.tensor(people)).loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite(tiny_model: TBPSModel, batch: BatchFeature, dtype: torch.dtype) -> None:
    model = tiny_model.to(dtype)
    out = model(**batch, person_ids=torch.tensor([0, 1, 1, 2]))
    assert out.text_embeds.dtype == dtype
    assert out.loss.isfinite()


def test_gradient_checkpointing_gives_the_same_gradient(model_factory: Factory, batch: BatchFeature) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = model_factory().train()
        if checkpointing:
            model.activation_checkpointing_enable()
        model(**batch, person_ids=torch.arange(4)).loss.backward()
        gradients.append(model.part_decoder.queries.grad)
    assert torch.allclose(*gradients, atol=1e-6)


# -- bad input


def test_bad_input_is_named(tiny_model: TBPSModel, batch: BatchFeature) -> None:
    with pytest.raises(ValueError, match="neither input_ids nor pixel_values"):
        tiny_model()
    with pytest.raises(ValueError, match="4 texts, 4 images and 3 person_ids"):
        tiny_model(**batch, person_ids=torch.arange(3))
    with pytest.raises(ValueError, match=r"person_ids of shape \(4, 1\): expected \(B,\)"):
        tiny_model(**batch, person_ids=torch.arange(4)[:, None])
    with pytest.raises(ValueError, match="None images"):
        tiny_model(input_ids=batch["input_ids"], person_ids=torch.arange(4))
    with pytest.raises(ValueError, match="Texts of 25 tokens are too long for a text tower of 24 positions"):
        tiny_model(input_ids=torch.ones(1, 25, dtype=torch.long))
    with pytest.raises(ValueError, match=r"shape \(3, 32, 16\)"):
        tiny_model(pixel_values=batch["pixel_values"][0])
    with pytest.raises(ValueError, match="interpolate_pos_encoding"):
        tiny_model(pixel_values=batch["pixel_values"], interpolate_pos_encoding=True)


def test_data_parallel_is_refused_by_name(tiny_model: TBPSModel, batch: BatchFeature) -> None:
    replica = tiny_model._replicate_for_data_parallel()
    with pytest.raises(RuntimeError, match=r"torch\.nn\.DataParallel"):
        replica(**batch)
