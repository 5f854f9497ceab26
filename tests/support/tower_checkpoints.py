"""Tiny random checkpoints of vision and text towers, and models built from them."""

from pathlib import Path
from typing import Any

import torch
from tiny import make_tokenizer
from transformers import AutoConfig, AutoModel, BatchFeature

from tbps import TBPSModel
from tbps.training.build import make_processor

WIDTH = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def save_tower(folder: Path, model_type: str, **fields: Any) -> Path:
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(model_type, **WIDTH, **fields)).save_pretrained(folder)
    return folder


def save_text_tower(folder: Path, model_type: str, **fields: Any) -> Path:
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    return save_tower(folder, model_type, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **fields)


def adapted(vision: Path, text: Path | None = None, **fields: Any) -> TBPSModel:
    sizes = {"num_parts": 2, "part_dim": 4, "decoder_layers": 1, "decoder_attention_heads": 2}
    return TBPSModel.from_vision_text_pretrained(vision, text, **{**sizes, **fields}).eval()


def words(model: TBPSModel, sentences: list[str], padding: Any = True) -> BatchFeature:
    return make_processor(model.config, make_tokenizer())(text=sentences, padding=padding, return_tensors="pt")
