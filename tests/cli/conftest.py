"""A tiny checkpoint, a folder of images and a gallery for commands."""

from pathlib import Path

import numpy as np
import pytest
from tiny import make_rows

from tbps import TBPSModel, TBPSProcessor
from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery.metadata import checked, make_row
from tbps.gallery.open_store import open_store
from tbps.gallery.store import Layout

MODEL, LAYOUT = ModelIdentity("m", "f", 4), Layout("float32", 2, 1, 2)
IMAGES = [
    ("/a/1.jpg", {"camera": "c1", "timestamp": "2020-01-01", "plate": "12", "floor": 1}),
    ("/a/2.jpg", {"camera": "c1", "timestamp": "2020-02-01", "plate": 12, "floor": 2}),
    ("/b/3.jpg", {"camera": "c2", "timestamp": "2020-03-01", "plate": "1e5", "floor": 3, "x": True}),
    ("/b/4.jpg", {"camera": "c2", "plate": "null", "floor": 2.5, "a>b": "true"}),
]


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_model: TBPSModel, tiny_processor: TBPSProcessor) -> str:
    tiny_model.save_pretrained(tmp_path / "model")
    tiny_processor.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve person crops."""
    make_rows(tmp_path / "crops", people=6)
    return tmp_path / "crops"


@pytest.fixture
def people(tmp_path: Path) -> str:
    store = open_store(tmp_path / "people", MODEL, LAYOUT)
    with store.writing():
        rows = [make_row(f"id{n}", path, checked("it", metadata)) for n, (path, metadata) in enumerate(IMAGES, 1)]
        store.append(rows, np.eye(4, dtype=np.float32))
    return str(tmp_path / "people")
