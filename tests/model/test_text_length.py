"""Texts longer than the text tower: cut, or embedded by a stretched table that leaves short texts unchanged."""

from collections.abc import Callable
from pathlib import Path

import datasets
import pytest
import torch
from tiny import make_tokenizer
from tower_checkpoints import WIDTH, save_text_tower, save_tower
from training_arguments import arguments
from transformers import AutoModel, AutoProcessor, CLIPConfig, CLIPModel

from tbps import TBPSModel, TBPSProcessor, TBPSTrainer
from tbps.tower_weights_tbps import KEPT_POSITIONS, stretch_positions
from tbps.training.build import build_model
from tbps.training.recipe import ModelArguments, RecipeError, parse_recipe

POSITIONS, LONGER = 24, 96
PARTS = {"num_parts": 2, "part_dim": 4, "decoder_layers": 1, "decoder_attention_heads": 2}
LONG = "a person with a red coat, blue trousers and a bag " * 7 + "and a green coat and a yellow bag, black trousers"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A tiny CLIP with 24 text positions, and a tokenizer with that limit."""
    tokenizer = make_tokenizer()
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = {**WIDTH, **special, "vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS}
    vision = {**WIDTH, "image_size": 16, "patch_size": 4}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(tmp_path / "clip")
    tokenizer.save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


def extended(checkpoint: Path, length: int | None = LONGER) -> tuple[TBPSModel, TBPSProcessor]:
    torch.manual_seed(1)
    model = TBPSModel.from_vision_text_pretrained(checkpoint, text_length=length, **PARTS)
    return model, TBPSProcessor.from_vision_text_pretrained(checkpoint, text_length=length)


def test_the_first_positions_stay_and_the_others_are_interpolated() -> None:
    table = torch.randn(77, 5, generator=torch.Generator().manual_seed(0))
    longer = stretch_positions(table, 248)
    assert longer.shape == (248, 5)
    assert torch.equal(longer[:KEPT_POSITIONS], table[:KEPT_POSITIONS])
    for place in range(KEPT_POSITIONS, 248):  # where it lies between the old positions, one by one
        at = KEPT_POSITIONS + (place - KEPT_POSITIONS) * (77 - 1 - KEPT_POSITIONS) / (248 - 1 - KEPT_POSITIONS)
        low = min(int(at), 75)
        expected = table[low] * (1 - (at - low)) + table[low + 1] * (at - low)
        assert torch.allclose(longer[place], expected, atol=1e-4)
    assert stretch_positions(table, 77) is table
    assert stretch_positions(table, 30) is table


@torch.no_grad()
def test_short_texts_keep_their_embeddings(clip: Path) -> None:
    (plain, processor), (longer, _) = extended(clip, None), extended(clip)
    assert longer.config.text_config.max_position_embeddings == LONGER
    short = ["a red bag", "a person with a blue coat, black trousers and a bag"]
    batch = processor(text=short, padding=True, return_tensors="pt")
    assert batch["input_ids"].shape[1] <= KEPT_POSITIONS
    before, after = plain.get_text_features(**batch), longer.get_text_features(**batch)
    assert (before.pooler_output - after.pooler_output).abs().max() < 1e-6
    full = processor(text=[LONG], return_tensors="pt")
    assert full["input_ids"].shape[1] == POSITIONS
    moved = longer.get_text_features(**full).pooler_output - plain.get_text_features(**full).pooler_output
    assert moved.abs().max() > 1e-6  # positions 20 on are others


@torch.no_grad()
def test_a_stretched_model_is_saved_and_loaded_bit_equal(clip: Path, tmp_path: Path) -> None:
    model, processor = extended(clip)
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    loaded, reader = AutoModel.from_pretrained(tmp_path / "saved"), AutoProcessor.from_pretrained(tmp_path / "saved")
    batch = reader(text=[LONG], return_tensors="pt")
    assert POSITIONS < batch["input_ids"].shape[1] <= LONGER
    expected = model.get_text_features(**processor(text=[LONG], return_tensors="pt")).pooler_output
    weights = model.state_dict()
    assert all(torch.equal(weight, weights[name]) for name, weight in loaded.state_dict().items())
    # a file's weights lie at odd addresses in memory, where sums may end in another last bit
    assert (loaded.get_text_features(**batch).pooler_output - expected).abs().max() < 1e-6


def test_captions_of_eighty_words_train_uncut(
    clip: Path, tmp_path: Path, rows: datasets.Dataset, caplog: pytest.LogCaptureFixture, propagate: None
) -> None:
    assert len(LONG.replace(",", "").split()) > 80
    long = rows.map(lambda row: {"captions": [LONG, row["captions"][0]]})
    for length, warning in ((None, "12 of 24 captions are longer than 24 tokens"), (LONGER, "")):
        model, processor = extended(clip, length)
        caplog.clear()
        args = arguments(tmp_path / str(length), max_steps=2, save_strategy="no")
        trainer = TBPSTrainer(model, args, long, processing_class=processor)
        assert warning in caplog.text
        assert ("captions are longer" in caplog.text) == bool(warning)
        before = model.text_model.embeddings.position_embedding.weight.detach().clone()
        trainer.train()
        moved = (model.text_model.embeddings.position_embedding.weight.detach() - before).abs().amax(dim=1) > 0
        tokens = max(trainer.train_dataset.input_ids.lengths)
        assert tokens == (POSITIONS if length is None else len(processor.tokenizer(LONG)["input_ids"]))
        assert moved[: tokens - 1].all()
        assert not moved[tokens:].any()


def test_a_recipe_may_set_the_length(clip: Path, rows: datasets.Dataset) -> None:
    source = ModelArguments(clip_checkpoint=str(clip), text_length=LONGER, model_config=dict(PARTS))
    model, processor = build_model(source, rows)
    assert model.config.text_config.max_position_embeddings == processor.tokenizer.model_max_length == LONGER
    shorter, cutter = build_model(
        ModelArguments(clip_checkpoint=str(clip), text_length=10, model_config=dict(PARTS)), rows
    )  # fmt: skip
    assert shorter.config.text_config.max_position_embeddings == POSITIONS
    assert cutter(text=[LONG], return_tensors="pt")["input_ids"].shape == (1, 10)
    with pytest.raises(
        RecipeError, match=r"text_length=96 only works with clip_checkpoint, and this model starts from model_name"
    ):
        parse_recipe(["--model_name_or_path", "some", "--text_length", "96", "--output_dir", "out"])


def test_impossible_lengths_are_named(clip: Path, tmp_path: Path) -> None:
    vision = save_tower(tmp_path / "vision", "vit", image_size=16, patch_size=4)
    text = save_text_tower(tmp_path / "text", "bert", max_position_embeddings=POSITIONS)
    makers: list[Callable[..., object]] = [
        TBPSModel.from_vision_text_pretrained, TBPSProcessor.from_vision_text_pretrained
    ]  # fmt: skip
    for make in makers:
        with pytest.raises(ValueError, match=r"text_length=96, but .* is a bert of 24 positions"):
            make(vision, text, text_length=LONGER)
        with pytest.raises(ValueError, match=r"text_length=2: expected at least 3"):
            make(clip, text_length=2)
    assert TBPSProcessor.from_vision_text_pretrained(vision, text, text_length=12).tokenizer.model_max_length == 12
