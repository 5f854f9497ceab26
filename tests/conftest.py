"""Fixtures that every test may ask for."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tiny import SENTENCES, make_config, make_rows, make_tokenizer
from transformers import BatchFeature

from tbps import TBPSImageProcessor, TBPSModel, TBPSProcessor
from tbps.data.toypedes import generate

torch.set_num_threads(1)  # threads of tiny models wait for each other longer than they work


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


@pytest.fixture
def photo() -> Image.Image:
    """8 wide, 16 high, noisy enough that cutting the file cuts pixels."""
    image = Image.new("RGB", (8, 16))
    image.putdata([(i * 7 % 256, i * 13 % 256, i * 29 % 256) for i in range(128)])
    return image


@pytest.fixture
def sentences() -> list[str]:
    """Four sentences of different lengths."""
    return list(SENTENCES)


@pytest.fixture
def rows(tmp_path: Path) -> datasets.Dataset:
    """A benchmark split of 6 people, 2 images each, 2 captions an image, whose pictures show what captions say."""
    return make_rows(tmp_path / "images", people=6)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ToyPEDES of 20 people, 2 images each."""
    folder = tmp_path_factory.mktemp("data")
    generate(folder, people=20, images_per_person=2, workers=1, progress=False)
    return folder


@pytest.fixture
def batch(tiny_processor: TBPSProcessor, pictures: list[Image.Image], sentences: list[str]) -> BatchFeature:
    """Four sentences and four pictures, prepared."""
    return tiny_processor(text=sentences, images=pictures, padding=True, return_tensors="pt")


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
