"""Fixtures of the tests of the model."""

from pathlib import Path

import pytest
import torch
from tiny import TEXT_LENGTH, make_tokenizer
from tower_checkpoints import WIDTH
from transformers import SiglipConfig, SiglipModel


@pytest.fixture
def siglip(tmp_path: Path) -> Path:
    """A tiny SigLIP of 16x16 pixels, whose configuration names special tokens that its vocabulary does not have."""
    tokenizer = make_tokenizer()
    text = {**WIDTH, "vocab_size": len(tokenizer), "max_position_embeddings": TEXT_LENGTH, "projection_size": 24}
    vision = {**WIDTH, "image_size": 16, "patch_size": 4}
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    model.logit_scale.data.fill_(2.0)
    model.save_pretrained(tmp_path / "siglip")
    tokenizer.save_pretrained(tmp_path / "siglip")
    return tmp_path / "siglip"
