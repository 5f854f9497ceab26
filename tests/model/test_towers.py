"""Towers of every family: from tiny random checkpoints on disk, written and read by their own classes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tiny import TEXT_LENGTH, make_tokenizer
from tower_checkpoints import WIDTH, adapted, save_text_tower, save_tower, words
from transformers import AutoModel, CLIPConfig, CLIPModel, SiglipModel
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tbps import TBPSModel, TBPSProcessor

SENTENCES = ["a red bag", "a person with a blue coat, black trousers and a bag"]
Factory = Callable[..., TBPSModel]


@torch.no_grad()
@pytest.mark.parametrize(("patch", "image_size"), [(16, (384, 128)), (32, (384, 128)), (14, (336, 112))])
def test_clip_at_224_gives_clip_embeddings_and_any_size_runs(
    patch: int, image_size: tuple[int, int], tmp_path: Path
) -> None:
    """The grids of B/16, B/32 and L/14, at tiny width."""
    tokenizer = make_tokenizer()
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = {**WIDTH, **special, "vocab_size": len(tokenizer), "max_position_embeddings": TEXT_LENGTH}
    vision = {**WIDTH, "image_size": 224, "patch_size": patch}
    torch.manual_seed(0)
    source = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval()
    source.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = adapted(tmp_path)
    batch = words(model, SENTENCES)
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected, out = source(**batch, pixel_values=pixels), model(**batch, pixel_values=pixels)
    assert (out.text_global_embeds - expected.text_embeds).abs().max() < 1e-5
    assert (out.image_global_embeds - expected.image_embeds).abs().max() < 1e-5
    other = adapted(tmp_path, image_size=image_size)
    rows, columns = (size // patch for size in image_size)
    assert other.vision_model.embeddings.position_embedding.weight.shape == (rows * columns + 1, 24)
    assert other(pixel_values=torch.zeros(1, 3, *image_size)).image_embeds.isfinite().all()


@torch.no_grad()
def test_siglip_towers_give_siglip_embeddings_whatever_the_padding(siglip: Path) -> None:
    model, source = adapted(siglip), SiglipModel.from_pretrained(siglip).eval()
    pixels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    tokenizer = make_tokenizer()
    ids = tokenizer(SENTENCES, padding="max_length", return_tensors="pt")["input_ids"]  # as SigLIP was trained
    expected = source(input_ids=ids, pixel_values=pixels)
    for padding in (True, "max_length"):
        out = model(**words(model, SENTENCES, padding), pixel_values=pixels)
        assert (out.text_global_embeds - expected.text_embeds).abs().max() < 1e-5
        assert (out.image_global_embeds - expected.image_embeds).abs().max() < 1e-5
    cosines = expected.text_embeds @ expected.image_embeds.T
    assert (out.logits_per_text - cosines * source.logit_scale.exp()).abs().max() < 1e-4  # SigLIP's bias ranks nothing
    alone = model(**words(model, SENTENCES[:1]))
    assert (alone.text_embeds - out.text_embeds[:1]).abs().max() < 1e-5


@torch.no_grad()
def test_siglip_position_table_is_resized_once(siglip: Path, tmp_path: Path) -> None:
    model = adapted(siglip, image_size=(24, 8))
    old = SiglipModel.from_pretrained(siglip).vision_model.embeddings.position_embedding.weight
    new = model.vision_model.embeddings.position_embedding.weight
    grid = F.interpolate(old.T.reshape(1, 24, 4, 4), (6, 2), mode="bicubic", align_corners=False)
    assert torch.allclose(new, grid[0].flatten(1).T)
    model.save_pretrained(tmp_path / "adapted")
    pixels = torch.randn(1, 3, 24, 8, generator=torch.Generator().manual_seed(0))
    loaded = AutoModel.from_pretrained(tmp_path / "adapted").eval()
    assert (loaded(pixel_values=pixels).image_embeds - model(pixel_values=pixels).image_embeds).abs().max() < 1e-6


FAMILIES = {
    "ViT and BERT": ("vit", "bert", {"max_position_embeddings": TEXT_LENGTH}),
    "DeiT and XLM-RoBERTa": ("deit", "xlm-roberta", {"max_position_embeddings": TEXT_LENGTH + 2}),
    "ViT and RoBERTa": ("vit", "roberta", {"max_position_embeddings": TEXT_LENGTH + 2}),
}


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_two_towers(family: str, tmp_path: Path) -> None:
    vision_type, text_type, fields = FAMILIES[family]
    vision = save_tower(tmp_path / "vision", vision_type, image_size=16, patch_size=4)
    text = save_text_tower(tmp_path / "text", text_type, **fields)
    model = adapted(vision, text, projection_dim=16, image_size=(24, 8))
    own = AutoModel.from_pretrained(text).eval()
    longest = " ".join(["bag"] * 40)
    batch = words(model, [*SENTENCES, longest])
    assert batch["input_ids"].shape[1] == TEXT_LENGTH  # cut to what the position table holds
    pixels = torch.randn(3, 3, 24, 8, generator=torch.Generator().manual_seed(0))
    out = model(**batch, pixel_values=pixels, output_part_attentions=True)
    pooled = model.text_projection(own(**batch).pooler_output)
    assert (out.text_global_embeds - F.normalize(pooled, dim=1)).abs().max() < 1e-5
    assert out.image_part_attentions.shape == (3, 2, 6, 2)
    special = (batch["input_ids"] < 2) | (batch["attention_mask"] == 0)  # begin and end of the tiny vocabulary
    assert out.text_part_attentions.masked_fill(~special[:, None], 0).abs().max() == 0
    model.save_pretrained(tmp_path / "both")
    loaded = AutoModel.from_pretrained(tmp_path / "both").eval()(**batch, pixel_values=pixels)
    assert (loaded.logits_per_text - out.logits_per_text).abs().max() < 1e-4


def test_mean_and_max_pooling_of_a_tower_without_a_pooler(tmp_path: Path) -> None:
    """Multilingual E5 is an XLM-RoBERTa whose embedding is the mean over its words."""
    vision = save_tower(tmp_path / "vision", "vit", image_size=16, patch_size=4)
    text = save_text_tower(tmp_path / "text", "xlm-roberta", max_position_embeddings=TEXT_LENGTH + 2)
    for pooling in ("mean", "max"):
        model = adapted(vision, text, projection_dim=16, pooling=pooling)
        out = model(**words(model, SENTENCES), pixel_values=torch.zeros(2, 3, 16, 16))
        assert out.logits_per_text.isfinite().all()


# -- bad input


def test_mismatched_sizes_are_both_named(siglip: Path, tmp_path: Path, model_factory: Factory) -> None:
    with pytest.raises(ValueError, match=r"visual_projection\.weight of size \(24, 24\).* asks for \(12, 24\)"):
        adapted(siglip, projection_dim=12)
    model_factory().save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=r"part_decoder\.place_bias of size \(3, 8\).* asks for \(4, 8\)"):
        TBPSModel.from_pretrained(tmp_path / "model", num_parts=4)
    assert (
        TBPSModel.from_pretrained(tmp_path / "model", num_parts=4, ignore_mismatched_sizes=True).config.num_parts == 4
    )


@torch.no_grad()
def test_an_end_token_that_is_not_the_last_of_the_vocabulary(tmp_path: Path) -> None:
    """A published CLIP configuration, with end id 2, whose user added tokens."""
    tokenizer = make_tokenizer()
    size = len(tokenizer) + 2
    text = {**WIDTH, "vocab_size": size, "max_position_embeddings": TEXT_LENGTH, "bos_token_id": 0, "eos_token_id": 2}
    vision = {**WIDTH, "image_size": 16, "patch_size": 4}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = adapted(tmp_path)
    assert model.config.text_config.eos_token_id == tokenizer.eos_token_id
    texts = model(**words(model, SENTENCES)).text_global_embeds
    assert texts[0] @ texts[1] < 0.999


@torch.no_grad()
def test_the_processor_of_a_tower_has_its_sizes(siglip: Path, tmp_path: Path) -> None:
    SiglipImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(siglip)
    model = adapted(siglip, image_size=(24, 8))
    assert not model.training
    processor = TBPSProcessor.from_vision_text_pretrained(siglip, image_size=(24, 8))
    image = Image.new("RGB", (30, 50), (255, 255, 255))
    batch = processor(text=["bag " * 60], images=[image], padding=True, return_tensors="pt")
    assert batch["input_ids"].shape == (1, TEXT_LENGTH)
    assert batch["pixel_values"].max() == pytest.approx(1)  # SigLIP's mean and deviation are 0.5
    assert model(**batch).logits_per_text.shape == (1, 1)


def test_siglip_is_exported_up_to_its_full_length(siglip: Path) -> None:
    model = adapted(siglip)
    rows, length = torch.export.Dim("rows", min=1, max=64), torch.export.Dim("length", min=2, max=TEXT_LENGTH)
    inputs = {**words(model, SENTENCES), "pixel_values": torch.zeros(2, 3, 16, 16)}
    sizes = {"input_ids": {0: rows, 1: length}, "attention_mask": {0: rows, 1: length}, "pixel_values": {0: rows}}
    exported = torch.export.export(model, (), inputs, dynamic_shapes=sizes, strict=False).module()
    for padding in (True, "max_length"):
        batch = {**words(model, SENTENCES * 2, padding), "pixel_values": torch.zeros(4, 3, 16, 16)}
        assert (exported(**batch).logits_per_text - model(**batch).logits_per_text).abs().max() < 1e-4
