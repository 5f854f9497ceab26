"""Configuration: round trips, defaults, and values that are refused by name."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassClassValidationError

from tbps import TBPSConfig, TBPSModel

Factory = Callable[..., TBPSModel]


def without_bookkeeping(config: TBPSConfig) -> dict:
    """Return the settings of a configuration, without the names that saving adds."""
    found = config.to_dict()
    for name in ("transformers_version", "architectures", "dtype", "auto_map", "_name_or_path"):
        found.pop(name, None)
    for sub in ("vision_config", "text_config"):
        for name in ("transformers_version", "architectures", "dtype", "_name_or_path"):
            found[sub].pop(name, None)
    return found


def test_config_round_trip(tmp_path: Path, model_factory: Factory) -> None:
    config = model_factory(stem_channels=None, part_weight=0.25).config
    config.save_pretrained(tmp_path)
    loaded = TBPSConfig.from_pretrained(tmp_path)
    assert without_bookkeeping(loaded) == without_bookkeeping(config)
    again = TBPSConfig.from_dict(loaded.to_dict())
    assert again.to_dict() == loaded.to_dict()
    changed = TBPSConfig.from_pretrained(tmp_path, text_config={"vocab_size": 20})
    assert changed.text_config.vocab_size == 20
    assert changed.text_config.hidden_size == config.text_config.hidden_size
    assert changed.vision_config.to_dict() == loaded.vision_config.to_dict()
    text = type(config.text_config).from_pretrained(tmp_path)
    assert text.hidden_size == config.text_config.hidden_size


def test_every_field_is_written_because_defaults_may_change(tmp_path: Path, model_factory: Factory) -> None:
    config = model_factory().config
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["part_image_layer"] is None
    assert written["cmr_margin"] == TBPSConfig().cmr_margin
    assert TBPSConfig.__annotations__.keys() - {"vision_config", "text_config"} <= written.keys()


def test_default_config_is_clip_at_384x128(recwarn: pytest.WarningsRecorder) -> None:
    config = TBPSConfig()
    assert config.image_size == (384, 128)
    assert config.patch_grid == (24, 8)
    assert config.embedding_dim == 1024
    assert not recwarn.list


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"part_weight": 1.0}, "part_weight=1.0: expected 0 <= part_weight < 1"),
        ({"num_parts": 0}, "num_parts=0: expected 1 or more"),
        ({"projection_dim": 30, "decoder_attention_heads": 4}, "projection_dim=30 is not a multiple"),
        ({"global_loss": "triplet"}, "global_loss='triplet': expected one of sdm, itc"),
        ({"commonality": "guess"}, "commonality='guess': expected one of none, mean_similarity"),
        ({"cmr_margin": 0.1, "cmr_margin_floor": 0.2}, "cmr_margin_floor=0.2 is above cmr_margin=0.1"),
        ({"num_identities": -1}, "num_identities=-1"),
        ({"cmr_loss_weight": -1.0}, "cmr_loss_weight=-1.0: expected 0"),
        ({"id_loss_weight": math.nan}, "id_loss_weight=nan: expected 0"),
        ({"cmr_margin": math.inf}, "cmr_margin=inf: expected a finite number"),
        ({"part_stripes": 9}, "part_stripes=9: expected 0 to num_parts=8"),
    ],
)
def test_config_names_the_bad_value(fields: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=message):
        TBPSConfig(**fields)
    TBPSConfig().save_pretrained(tmp_path)
    with pytest.raises(Exception, match=message):  # as a change to a checkpoint's
        TBPSConfig.from_pretrained(tmp_path, **fields)


def test_published_clip_end_id_is_corrected() -> None:
    text = {"model_type": "clip_text_model", "vocab_size": 49408, "eos_token_id": 2, "bos_token_id": 0}
    config = TBPSConfig(text_config=text)
    assert config.text_config.eos_token_id == 49407
    assert config.masked_token_ids == [49406, 49407]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"part_attention": "slots"}, "expected one of tokens, parts, both"),
        ({"part_image_layer": 3}, "the vision tower has 2 layers"),
        ({"part_image_layer": -1}, "part_image_layer=-1"),
        ({"part_stripes": 4}, "part_stripes=4: expected 0 to num_parts=3"),
        ({"part_text_key_layer": 7}, "part_text_key_layer=7: the text tower has 2 layers"),
        ({"cmr_negatives": "all"}, "expected one of violating, semi_hard, hardest, softened"),
        ({"part_matching_loss": "kl"}, "expected one of sdm, itc, tal"),
    ],
)
def test_impossible_values_are_named(model_factory: Factory, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(StrictDataclassClassValidationError, match=named):
        model_factory(**fields)
