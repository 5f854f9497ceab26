"""Fields of a configuration override those of a checkpoint or are refused by name, and a model has one dtype, whatever
its towers were stored in."""

import math
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from tiny import make_tokenizer
from tower_checkpoints import adapted, words
from transformers import AutoModel, AutoTokenizer

from tbps import TBPSConfig, TBPSModel
from tbps.training.build import continued, from_clip

STATED = {
    "num_parts": 3, "part_dim": 6, "part_attention": "tokens", "part_image_layer": 1, "part_image_key_layer": 0,
    "part_text_key_layer": 1, "part_stripes": 1, "decoder_layers": 2, "decoder_attention_heads": 4,
    "pooling": "max", "part_weight": 0.5,
    "text_part_weights": False, "special_token_ids": [0, 3], "num_identities": 7, "initializer_range": 0.5,
    "logit_scale_init_value": math.log(20), "global_loss": "itc", "global_loss_weight": 2.0,
    "id_loss_weight": 0.5, "cmr_loss_weight": 0.25, "part_matching_loss_weight": 0.5, "part_matching_loss": "sdm",
    "part_matching_scale": 30.0, "part_independence_loss_weight": 1.5, "part_compactness_loss_weight": 0.1,
    "cmr_margin": 0.4, "cmr_margin_floor": 0.1, "commonality": "none", "cmr_positives": "hardest",
    "cmr_negatives": "hardest",
}  # fmt: skip
SIZES = {"projection_dim": 8, "stem_channels": [4]}  # that the towers fix: refused
ELSEWHERE = {"vision_config", "text_config", "tbps_version"}


def own_fields() -> set[str]:
    return {field.name for field in fields(TBPSConfig) if field.name in TBPSConfig.__annotations__}


def test_the_table_has_every_field() -> None:
    assert own_fields() == set(STATED) | set(SIZES) | ELSEWHERE


@pytest.mark.parametrize("name", STATED)
def test_a_stated_field_wins_over_the_towers_own(name: str, sources: Path) -> None:
    clip = sources / "clip"
    plain = adapted(clip, special_token_ids=[0, 1])
    model = adapted(clip, **{"special_token_ids": [0, 1], name: STATED[name]})
    assert getattr(model.config, name) == STATED[name] != getattr(plain.config, name)
    expected = STATED[name] if name == "logit_scale_init_value" else plain.config.logit_scale_init_value
    assert model.logit_scale.item() == pytest.approx(expected)


@pytest.mark.parametrize("name", SIZES)
def test_a_size_that_the_towers_do_not_have_is_refused(name: str, sources: Path) -> None:
    with pytest.raises((ValueError, StrictDataclassError), match=r"the configuration asks for|stem_channels=\[4\]"):
        adapted(sources / "clip", special_token_ids=[0, 1], **{name: SIZES[name]})


def test_the_towers_own_scale_is_taken_where_none_is_stated(sources: Path) -> None:
    source = AutoModel.from_pretrained(sources / "clip")
    assert adapted(sources / "clip", special_token_ids=[0]).logit_scale.item() == source.logit_scale.item()


@pytest.mark.parametrize(
    ("tower", "setting", "value"),
    [("vision_config", "attention_dropout", 0.3), ("text_config", "attention_dropout", 0.2),
     ("text_config", "layer_norm_eps", 1e-3), ("vision_config", "hidden_act", "gelu"),
     ("text_config", "pad_token_id", 3), ("vision_config", "image_size", [24, 8]),
     ("text_config", "max_position_embeddings", 30)],
)  # fmt: skip
def test_a_single_setting_of_a_tower_wins_and_leaves_the_others(
    tower: str,
    setting: str,
    value: Any,
    sources: Path,
) -> None:
    clip = sources / "clip"
    plain, model = (adapted(clip, special_token_ids=[0], **given) for given in ({}, {tower: {setting: value}}))
    assert getattr(getattr(model.config, tower), setting) == value
    own, found = (getattr(made.config, tower).to_dict() for made in (plain, model))
    assert {name: found[name] for name in own if name != setting} == {n: v for n, v in own.items() if n != setting}
    height, width = model.config.image_size
    model.eval()(pixel_values=torch.zeros(1, 3, height, width), input_ids=torch.tensor([[0, 5, 1]]))


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"text_config": {"hiden_size": 3}}, "has no hiden_size. Did you mean hidden_size"),
        ({"vision_config": {"num_hidden_layers": 3}}, r"has no vision_model\.encoder\.layers\.2"),
        ({"vision_config": {"num_hidden_layers": 1}}, r"vision_model\.encoder\.layers\.1.* has no place"),
        ({"text_config": {"vocab_size": 60}}, "asks for"),
        (
            {"text_config": {"max_position_embeddings": 20}},
            "the tower has 24 positions. To cut texts, give text_length=20",
        ),
        ({"text_config": {"model_type": "bert"}}, "model_type='bert', but the tower is a clip_text_model"),
        ({"vision_config": {"image_size": 24}, "image_size": (24, 8)}, "as argument: give one"),
        ({"vision_config": {"image_size": 25}}, "must be a multiple of the patch size"),
    ],
)
def test_what_a_tower_cannot_be_is_refused_by_name(stated: dict[str, Any], message: str, sources: Path) -> None:
    with pytest.raises(ValueError, match=message):
        adapted(sources / "clip", special_token_ids=[0], **stated)


@pytest.mark.parametrize("name", ["bos_token_id", "eos_token_id", "pad_token_id"])
def test_a_stated_token_wins_over_the_tokenizers(name: str, sources: Path, tmp_path: Path) -> None:
    shutil.copytree(sources / "clip", tmp_path / "clip")
    make_tokenizer().save_pretrained(tmp_path / "clip")
    plain, model = (adapted(tmp_path / "clip", text_config=given) for given in (None, {name: 7}))
    assert getattr(plain.config.text_config, name) in plain.config.masked_token_ids
    assert getattr(model.config.text_config, name) == 7
    assert set(model.config.masked_token_ids) == {*plain.config.masked_token_ids, 7}


@pytest.mark.parametrize("stated", [{"dtype": "auto"}, {"dtype": "int8"}, {"dtype": torch.int32}, {"dtype": 3},
                                    {"text_config": {"dtype": "bfloat16"}}])  # fmt: skip
def test_a_type_of_numbers_that_a_model_cannot_have_is_named(stated: dict[str, Any], sources: Path) -> None:
    with pytest.raises(ValueError, match=r"dtype=.*(expected float32|cannot be set for one tower)"):
        adapted(sources / "clip", special_token_ids=[0], **stated)


def test_what_is_stated_over_a_tbps_checkpoint_wins(sources: Path, tmp_path: Path) -> None:
    model = adapted(sources / "clip", special_token_ids=[0], num_identities=7)
    with torch.no_grad():
        model.logit_scale.fill_(4.5)  # as after a training that learns it
    model.save_pretrained(tmp_path)
    assert TBPSModel.from_pretrained(tmp_path).logit_scale.item() == 4.5
    assert AutoModel.from_pretrained(tmp_path).logit_scale.item() == 4.5
    assert AutoModel.from_pretrained(tmp_path, logit_scale_init_value=2.0).logit_scale.item() == 2.0
    own = TBPSConfig.from_pretrained(tmp_path)
    assert TBPSModel.from_pretrained(tmp_path, config=own).logit_scale.item() == 4.5
    own.logit_scale_init_value = 2.0
    assert TBPSModel.from_pretrained(tmp_path, config=own).logit_scale.item() == 2.0
    resized = {*SIZES, "num_parts", "part_dim"}
    for name, value in {**STATED, **SIZES}.items():
        if name in resized:
            with pytest.raises((ValueError, StrictDataclassError), match=r"asks for|stem_channels=\[4\]"):
                TBPSModel.from_pretrained(tmp_path, **{name: value})
            continue
        found = TBPSModel.from_pretrained(tmp_path, **{name: value})
        assert getattr(found.config, name) == value, name
        assert found.logit_scale.item() == pytest.approx(value if name == "logit_scale_init_value" else 4.5)


FAMILIES = {"clip": ("clip", None), "two towers": ("vision", "text")}


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_towers_stored_in_half_precision_encode_and_train(
    family: str,
    stored: torch.dtype,
    sources: Path,
    tmp_path: Path,
) -> None:
    vision, text = FAMILIES[family]
    places = {name: tmp_path / name for name in (vision, text) if name}
    for name, place in places.items():
        AutoModel.from_pretrained(sources / name).to(stored).save_pretrained(place)
    AutoTokenizer.from_pretrained(sources / "text").save_pretrained(places[text or vision])
    model = adapted(places[vision], places.get(text), projection_dim=16, num_identities=2)
    batch = {**words(model, ["a red bag", "a blue coat"]), "pixel_values": torch.randn(2, 3, 16, 16)}
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        made = (
            model
            if dtype == torch.float32
            else adapted(places[vision], places.get(text), projection_dim=16, num_identities=2, dtype=dtype)
        )
        assert {parameter.dtype for parameter in made.parameters()} == {dtype}
        assert made(**batch).logits_per_text.isfinite().all()
    model.train()(**batch, person_ids=torch.arange(2)).loss.backward()
    model.to(stored).save_pretrained(tmp_path / "saved")
    assert {p.dtype for p in TBPSModel.from_pretrained(tmp_path / "saved").parameters()} == {stored}
    again = TBPSModel.from_pretrained(tmp_path / "saved", dtype=torch.float32)
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    again.train()(**batch, person_ids=torch.arange(2)).loss.backward()


def test_a_recipe_states_over_towers_and_over_checkpoints(sources: Path, tmp_path: Path) -> None:
    AutoTokenizer.from_pretrained(sources / "text").save_pretrained(sources / "clip")
    fields = {"logit_scale_init_value": 3.0, "text_config": {"max_position_embeddings": 30, "attention_dropout": 0.1},
              "decoder_attention_heads": 2}  # fmt: skip
    model, processor = from_clip(str(sources / "clip"), [24, 8], None, fields)
    assert model.logit_scale.item() == 3.0
    assert processor.tokenizer.model_max_length == 30
    assert processor.image_processor.size == {"height": 24, "width": 8}
    assert model.text_model.encoder.layers[0].self_attn.dropout == 0.1
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    model, _ = continued(str(tmp_path), {"logit_scale_init_value": 2.0, "vision_config": {"attention_dropout": 0.2}})
    assert model.logit_scale.item() == 2.0
    assert model.config.vision_config.attention_dropout == 0.2
    with pytest.raises(ValueError, match=r"has no attention_dropuot\. Did you mean attention_dropout"):
        continued(str(tmp_path), {"vision_config": {"attention_dropuot": 0.2}})
