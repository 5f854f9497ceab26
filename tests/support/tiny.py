"""A tiny random model, its processor and a handful of people: small enough for every test to run the real thing."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image
from transformers import PreTrainedTokenizerFast

from tbps import TBPSConfig
from tbps.training.tokenizer import train_tokenizer

COLOURS = ["red", "blue", "green", "black", "white", "yellow"]
CAPTION = "a person with a {} coat, {} trousers and a bag"
TEXT_LENGTH = 24


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer([CAPTION.format(a, b) for a in COLOURS for b in COLOURS], 100)
    tokenizer.model_max_length = TEXT_LENGTH
    return tokenizer


TOKENIZER = make_tokenizer()


def make_config(tower_dropout: float = 0.0, **fields: Any) -> TBPSConfig:
    """Towers of unequal widths and a 32x16 image on purpose; D=24, K=3, d=8."""
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": [32, 16],
        "patch_size": 8,
        "attention_dropout": tower_dropout,
    }
    text = {
        "model_type": "clip_text_model",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 320,
        "max_position_embeddings": TEXT_LENGTH,
        "attention_dropout": tower_dropout,
        "bos_token_id": TOKENIZER.bos_token_id,
        "eos_token_id": TOKENIZER.eos_token_id,
        "pad_token_id": TOKENIZER.pad_token_id,
    }
    sizes = {"projection_dim": 24, "num_parts": 3, "part_dim": 8, "decoder_layers": 2, "decoder_attention_heads": 4}
    plain = {"text_part_weights": False, "part_attention": "tokens"}  # unit norms, and the fused kernels
    return TBPSConfig(**{"vision_config": vision, "text_config": text, **sizes, **plain, **fields})


SENTENCES = [
    "a person with a red coat",
    "a person with a blue coat, black trousers and a bag",
    "a bag",
    "a person with white trousers, a green coat and a yellow bag and a red bag",
]


def make_rows(folder: Path, people: int, first_id: int = 10) -> datasets.Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(first_id)
    palette = {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (30, 160, 30), "black": (10, 10, 10),
               "white": (240, 240, 240), "yellow": (230, 220, 40)}  # fmt: skip
    table: dict[str, list[Any]] = {"image": [], "captions": [], "person_id": [], "file_path": []}
    for person in range(people):
        coat, trousers = COLOURS[person % 6], COLOURS[(person * 5 + 1 + person // 6) % 6]
        for shot in range(2):
            pixels = np.empty((40, 20, 3))
            pixels[:20], pixels[20:] = palette[coat], palette[trousers]
            noisy = (pixels + rng.normal(0, 12, pixels.shape)).clip(0, 255).astype(np.uint8)
            path = folder / f"{person:03d}_{shot}.png"
            Image.fromarray(noisy).save(path)
            table["image"].append(str(path))
            table["captions"].append([CAPTION.format(coat, trousers), f"{trousers} trousers and a {coat} coat"])
            table["person_id"].append(first_id + person)
            table["file_path"].append(path.name)
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "captions": datasets.List(datasets.Value("string")),
            "person_id": datasets.Value("int64"),
            "file_path": datasets.Value("string"),
        }
    )
    return datasets.Dataset.from_dict(table, features=features)
