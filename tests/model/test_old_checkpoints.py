"""Checkpoints of tbps 0.1.0: they load with equal embeddings and fingerprints, or say which version they need.

`tests/support/config_0_1_0.json` is a config.json that tbps 0.1.0 wrote, with its 24 code files in `auto_map`. The
numbers below were computed by tbps 0.1.0 with the weights of `formula`.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from repository import ROOT
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel

from tbps import TBPSConfig, TBPSModel
from tbps.commonality_tbps import COMMONALITY
from tbps.evaluation.fingerprint import all_settings, identify
from tbps.gallery.model_identity import old_fingerprint

OLD = ROOT / "tests" / "support" / "config_0_1_0.json"
TEXT = [-0.091288, 0.116171, -0.134608, -0.100429, -0.114354, -0.100953]  # every eighth number of a retrieval vector
IMAGE = [-0.035941, 0.031726, 0.092449, -0.100824, -0.109072, -0.101271]
FINGERPRINTED = {  # the fields of `TBPSConfig` that a fingerprint of 0.1.0 has
    "projection_dim": 24, "num_parts": 3, "part_dim": 8, "part_attention": "both", "part_image_layer": 0,
    "part_image_key_layer": 1, "part_text_key_layer": 1, "part_stripes": 2, "decoder_layers": 1,
    "decoder_attention_heads": 4, "decoder_intermediate_size": None, "pooling": "tower", "part_weight": 0.75,
    "text_part_weights": True, "stem_channels": [], "special_token_ids": None, "model_type": "tbps",
}  # fmt: skip


def formula(model: TBPSModel) -> dict[str, torch.Tensor]:
    """Weights that depend on nothing but names and shapes."""
    return {
        name: 0.3 * torch.sin(torch.arange(weight.numel()) * 0.37 + position).view(weight.shape)
        for position, (name, weight) in enumerate(sorted(model.named_parameters()))
    }


@pytest.fixture
def old_fields() -> dict[str, Any]:
    return json.loads(OLD.read_text())


def save_old(folder: Path, fields: dict[str, Any]) -> Path:
    """A checkpoint with this config.json."""
    folder.mkdir()
    known = {**fields, "decoder_intermediate_size": None, "decoder_dropout": 0.0, "learn_logit_scale": False}
    save_file(formula(TBPSModel(TBPSConfig.from_dict(known))), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(fields))
    return folder


@torch.no_grad()
def embeddings(model: TBPSModel) -> tuple[list[float], list[float]]:
    pixels = torch.linspace(-1, 1, 3 * 32 * 16).view(1, 3, 32, 16)
    out = model.eval()(input_ids=torch.tensor([[0, 9, 8, 1]]), pixel_values=pixels)
    return out.text_embeds[0, ::8].tolist(), out.image_embeds[0, ::8].tolist()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"commonality": "resembling_pair"},
        {"decoder_intermediate_size": 96},  # what None stood for: 4 D
    ],
)
def test_an_old_checkpoint_gives_its_embeddings(
    changes: dict[str, Any], tmp_path: Path, old_fields: dict[str, Any]
) -> None:
    model = AutoModel.from_pretrained(save_old(tmp_path / "old", {**old_fields, **changes}))
    text, image = embeddings(model)
    assert text == pytest.approx(TEXT, abs=1e-5)
    assert image == pytest.approx(IMAGE, abs=1e-5)
    model.save_pretrained(tmp_path / "again")
    assert embeddings(AutoModel.from_pretrained(tmp_path / "again")) == (text, image)


def test_fields_that_changed_training_only_give_a_warning(
    tmp_path: Path, old_fields: dict[str, Any], propagate: None, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_old(tmp_path / "old", {**old_fields, "decoder_dropout": 0.25, "learn_logit_scale": True})
    assert caplog.text == ""
    model = AutoModel.from_pretrained(folder)
    for named in ("decoder_dropout=0.25", "learn_logit_scale=True"):
        assert f"was trained with {named}" in caplog.text
    assert not model.logit_scale.requires_grad
    assert embeddings(model) == (pytest.approx(TEXT, abs=1e-5), pytest.approx(IMAGE, abs=1e-5))
    caplog.clear()
    AutoModel.from_pretrained(save_old(tmp_path / "neutral", old_fields))
    assert caplog.text == ""


def test_a_field_that_changes_embeddings_is_refused_by_name(tmp_path: Path, old_fields: dict[str, Any]) -> None:
    folder = save_old(tmp_path / "old", {**old_fields, "decoder_intermediate_size": 40})
    for load in (AutoModel.from_pretrained, AutoConfig.from_pretrained):
        with pytest.raises(ValueError, match=r"decoder_intermediate_size=40: .* needs tbps 0\.1\.0"):
            load(folder)


@pytest.mark.parametrize(
    ("name", "value"), [("decoder_intermediate_size", 40), ("decoder_dropout", 0.1), ("learn_logit_scale", True)]
)
def test_a_removed_field_cannot_be_set(name: str, value: Any, tmp_path: Path, old_fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{name}={value}: TBPSConfig no longer has {name}"):
        TBPSConfig(**{name: value})
    with pytest.raises(ValueError, match=f"{name}={value}: TBPSConfig no longer has {name}"):
        AutoModel.from_pretrained(save_old(tmp_path / "old", old_fields), **{name: value})


def test_a_moved_estimate_is_needed_for_training_only(
    tmp_path: Path, old_fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(COMMONALITY, "soft_rank", raising=False)
    model = AutoModel.from_pretrained(save_old(tmp_path / "old", old_fields))
    assert model.config.commonality == "soft_rank"
    pair = {"input_ids": torch.tensor([[0, 9, 8, 1]] * 2), "pixel_values": torch.zeros(2, 3, 32, 16)}
    with pytest.raises(ValueError, match=r"commonality='soft_rank'.*benchmarks\.method\.commonality"):
        model.train()(**pair, person_ids=torch.arange(2))


def test_fingerprints_have_the_settings_that_they_had(
    tmp_path: Path, old_fields: dict[str, Any], tiny_processor: Any
) -> None:
    found: dict[Any, tuple[str, str]] = {}
    for size in (None, 96):
        folder = save_old(tmp_path / str(size), {**old_fields, "decoder_intermediate_size": size})
        model = AutoModel.from_pretrained(folder).eval()
        identity = identify(model, tiny_processor)
        settings = json.loads(identity.traits["model"])
        own = {name: value for name, value in settings.items() if "." not in name and name != "is_encoder_decoder"}
        assert own == {**FINGERPRINTED, "decoder_intermediate_size": size}
        assert all_settings(model.config)["decoder_intermediate_size"] == size
        found[size] = (identity.fingerprint, old_fingerprint(model, tiny_processor))
    assert found[None][0] != found[96][0]  # as in 0.1.0, which took the two for different settings
    assert found[None][1] != found[96][1]
