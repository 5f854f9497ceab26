"""Tower weights from published checkpoints: CLIP's own embeddings, resized position tables, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import TEXT_LENGTH
from tower_checkpoints import adapted, save_text_tower, save_tower
from transformers import CLIPConfig, CLIPModel

from tbps import TBPSModel

Factory = Callable[..., TBPSModel]


@pytest.fixture
def clip(tmp_path: Path, model_factory: Factory) -> Path:
    """A tiny random CLIP of 32x32 pixels, with unequal tower widths, on disk."""
    tiny = model_factory().config
    vision = {**tiny.vision_config.to_dict(), "image_size": 32, "projection_dim": 24}
    text = {**tiny.text_config.to_dict(), "projection_dim": 24}
    torch.manual_seed(1)
    CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=24)).save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


@torch.no_grad()
def test_clip_towers_give_clip_embeddings(clip: Path) -> None:
    model = TBPSModel.from_vision_text_pretrained(clip, num_parts=2, part_dim=4, decoder_attention_heads=2).eval()
    source = CLIPModel.from_pretrained(clip).eval()
    assert model.config.part_weight == 0
    ids, pixels = torch.tensor([[0, 9, 8, 1]]), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = source(input_ids=ids, pixel_values=pixels)
    out = model(input_ids=ids, pixel_values=pixels)
    assert (out.text_global_embeds - expected.text_embeds).abs().max() < 1e-5
    assert (out.image_global_embeds - expected.image_embeds).abs().max() < 1e-5
    assert (out.logits_per_text - expected.logits_per_text).abs().max() < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_clip_position_table_is_resized_once(clip: Path, tmp_path: Path, interpolation: str) -> None:
    model = TBPSModel.from_vision_text_pretrained(
        clip, image_size=(48, 16), interpolation=interpolation, decoder_attention_heads=2
    )
    source = CLIPModel.from_pretrained(clip)
    old = source.vision_model.embeddings.position_embedding.weight
    new = model.vision_model.embeddings.position_embedding.weight
    assert new.shape == (6 * 2 + 1, 32)
    assert torch.equal(new[0], old[0])
    grid = old[1:].T.reshape(1, 32, 4, 4)
    expected = torch.nn.functional.interpolate(grid, (6, 2), mode=interpolation, align_corners=False)
    assert torch.allclose(new[1:], expected[0].flatten(1).T)
    model.save_pretrained(tmp_path / "adapted")
    loaded = TBPSModel.from_pretrained(tmp_path / "adapted")
    assert loaded.config.image_size == (48, 16)
    assert torch.equal(loaded.vision_model.embeddings.position_embedding.weight, new)


def test_two_towers_and_a_tower_without_text(clip: Path, tmp_path: Path) -> None:
    source = CLIPModel.from_pretrained(clip)
    source.vision_model.save_pretrained(tmp_path / "vision")
    source.text_model.save_pretrained(tmp_path / "text")
    model = TBPSModel.from_vision_text_pretrained(
        tmp_path / "vision", tmp_path / "text", projection_dim=8, decoder_attention_heads=2
    )
    assert torch.equal(model.vision_model.post_layernorm.weight, source.vision_model.post_layernorm.weight)
    assert torch.equal(model.text_model.final_layer_norm.weight, source.text_model.final_layer_norm.weight)
    with pytest.raises(ValueError, match="has no text tower: give the text tower's checkpoint"):
        TBPSModel.from_vision_text_pretrained(tmp_path / "vision")


def test_an_image_size_that_is_not_a_multiple_of_the_patch_is_named(clip: Path) -> None:
    with pytest.raises(ValueError, match=r"image_size=\(50, 30\).*must be a multiple of the patch size \(8, 8\)"):
        TBPSModel.from_vision_text_pretrained(clip, image_size=(50, 30))


def test_a_text_tower_without_special_tokens_is_named(tmp_path: Path) -> None:
    vision = save_tower(tmp_path / "vision", "vit", image_size=16, patch_size=4)
    text = save_tower(tmp_path / "text", "bert", vocab_size=50)
    with pytest.raises(ValueError, match=r"no tokenizer.*special_token_ids"):
        adapted(vision, text)
    assert adapted(vision, text, projection_dim=16, special_token_ids=[0, 1]).config.masked_token_ids == [0, 1]


def test_a_model_that_is_not_a_usable_tower_is_named(siglip: Path, tmp_path: Path, model_factory: Factory) -> None:
    vision = save_tower(tmp_path / "vision", "vit", image_size=16, patch_size=4)
    text = save_text_tower(tmp_path / "text", "bert", max_position_embeddings=TEXT_LENGTH)
    with pytest.raises(ValueError, match=r"BertModel, which reads input_ids: expected a vision tower"):
        adapted(text, vision)
    with pytest.raises(ValueError, match=r"ViTModel, which reads pixel_values: expected a text tower"):
        adapted(vision, vision)
    with pytest.raises(ValueError, match=r"no num_part\. Did you mean num_parts\?"):
        adapted(siglip, num_part=3)
    with pytest.raises(ValueError, match=r"interpolation='cubic': expected one of bicubic, bilinear"):
        adapted(siglip, image_size=(24, 8), interpolation="cubic")
    with pytest.raises(ValueError, match=r"\[99\] are not in the vocabulary"):
        adapted(siglip, special_token_ids=[0, 99])
    model_factory().save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=r"a complete TBPSModel"):
        adapted(tmp_path / "model")
    distil = save_tower(tmp_path / "distil", "distilbert", vocab_size=50, dim=24, n_heads=4, max_position_embeddings=24)
    with pytest.raises(ValueError, match=r"pooling='mean'"):
        adapted(vision, distil, special_token_ids=[0], projection_dim=16)(input_ids=torch.ones(1, 3, dtype=torch.long))


def test_a_tower_checkpoint_that_is_not_finite_is_named(siglip: Path) -> None:
    weights = load_file(siglip / "model.safetensors")
    weights["text_model.final_layer_norm.weight"][0] = torch.nan
    save_file(weights, siglip / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"NaN or infinite weights in text_model\.final_layer_norm\.weight"):
        adapted(siglip)
