"""A tiny random model, its processor and a handful of people: small enough for every test to run the real thing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import BatchFeature, PreTrainedTokenizerFast

from tbps import TBPSConfig, TBPSImageProcessor, TBPSModel, TBPSProcessor
from tbps.training.build import train_tokenizer

torch.set_num_threads(1)  # threads of tiny models wait for each other longer than they work

COLOURS = ["red", "blue", "green", "black", "white", "yellow"]
CAPTION = "a person with a {} coat, {} trousers and a bag"
TEXT_LENGTH = 24


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer([CAPTION.format(a, b) for a in COLOURS for b in COLOURS], 100)
    tokenizer.model_max_length = TEXT_LENGTH
    return tokenizer


TOKENIZER = make_tokenizer()


def make_config(**fields: Any) -> TBPSConfig:
    """Unequal widths and a 32x16 picture on purpose; D=24, K=3, d=8."""
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": [32, 16],
        "patch_size": 8,
    }
    text = {
        "model_type": "clip_text_model",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 320,
        "max_position_embeddings": TEXT_LENGTH,
        "bos_token_id": TOKENIZER.bos_token_id,
        "eos_token_id": TOKENIZER.eos_token_id,
        "pad_token_id": TOKENIZER.pad_token_id,
    }
    sizes = {"projection_dim": 24, "num_parts": 3, "part_dim": 8, "decoder_layers": 2, "decoder_attention_heads": 4}
    plain = {"text_part_weights": False, "part_attention": "tokens"}  # unit norms, and the fused kernels
    return TBPSConfig(**{"vision_config": vision, "text_config": text, **sizes, **plain, **fields})


@pytest.fixture
def model_factory() -> Callable[..., TBPSModel]:
    """Builds a tiny model in evaluation mode from fields of `TBPSConfig`; equal fields give equal weights."""

    def build(**fields: Any) -> TBPSModel:
        torch.manual_seed(0)
        return TBPSModel(make_config(**fields)).eval()

    return build


@pytest.fixture
def tiny_model(model_factory: Callable[..., TBPSModel]) -> TBPSModel:
    return model_factory()


@pytest.fixture
def tiny_processor() -> TBPSProcessor:
    return TBPSProcessor(TBPSImageProcessor(size={"height": 32, "width": 16}), make_tokenizer())


@pytest.fixture
def pictures() -> list[Image.Image]:
    """Four pictures of different sizes."""
    rng = np.random.default_rng(0)
    shapes = [(40, 20), (32, 16), (64, 30), (33, 50)]
    return [Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in shapes]


SENTENCES = [
    "a person with a red coat",
    "a person with a blue coat, black trousers and a bag",
    "a bag",
    "a person with white trousers, a green coat and a yellow bag and a red bag",
]


@pytest.fixture
def sentences() -> list[str]:
    """Four sentences of different lengths."""
    return list(SENTENCES)


@pytest.fixture
def rows(tmp_path: Path) -> datasets.Dataset:
    """A benchmark split of 6 people, 2 images each, 2 captions an image, whose pictures show what captions say."""
    return make_rows(tmp_path / "images", people=6)


@pytest.fixture
def batch(tiny_processor: TBPSProcessor, pictures: list[Image.Image], sentences: list[str]) -> BatchFeature:
    """Four sentences and four pictures, prepared."""
    return tiny_processor(text=sentences, images=pictures, padding=True, return_tensors="pt")


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


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 100 bytes."""
    resource = pytest.importorskip("resource", reason="needs limits of processes")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def propagate() -> Iterator[None]:
    """Let pytest see what is logged through transformers' logger, which keeps its messages to itself."""
    transformers.utils.logging.enable_propagation()
    yield
    transformers.utils.logging.disable_propagation()
