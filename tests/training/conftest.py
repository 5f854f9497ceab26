"""Fixtures for the tests of training."""

from pathlib import Path

import pytest
import torch
from tower_checkpoints import WIDTH, save_text_tower, save_tower
from transformers import CLIPConfig, CLIPModel


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP, a ViT and a BERT."""
    folder = tmp_path_factory.mktemp("sources")
    save_tower(folder / "vision", "vit", image_size=16, patch_size=4)
    vision, text = {**WIDTH, "image_size": 16, "patch_size": 4}, {**WIDTH, "vocab_size": 50}
    torch.manual_seed(0)
    config = CLIPConfig(vision_config=vision, text_config={**text, "max_position_embeddings": 24}, projection_dim=16)
    CLIPModel(config).save_pretrained(folder / "clip")
    save_text_tower(folder / "text", "bert", max_position_embeddings=24)
    return folder
