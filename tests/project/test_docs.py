"""The Python blocks of the pages run as they stand, one after the other, and find what the model finds."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from repository import ROOT
from tiny import make_rows

from tbps import TBPSModel, TBPSProcessor
from tbps.cli.main import main as cli
from train_hf import main as train_hf

DOCS = ROOT / "docs"
NEEDED = {"import faiss": "faiss", "from sklearn": "sklearn"}


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)


@pytest.fixture
def here(
    tmp_path: Path,
    model_factory: Callable[..., TBPSModel],
    tiny_processor: TBPSProcessor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tiny checkpoint and a few people in the place of the demonstration's."""
    model_factory(text_part_weights=True).save_pretrained(tmp_path / "runs/demo/model")
    tiny_processor.save_pretrained(tmp_path / "runs/demo/model")
    make_rows(tmp_path / "runs/demo/data/ToyPEDES/imgs/cam_a", people=6)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)


def run(page: str, *chosen: int, after: dict[str, Any] | None = None) -> dict[str, Any]:
    """The names that blocks of a page define; `after`: those of blocks before them."""
    names: dict[str, Any] = {} if after is None else after
    for position in chosen:
        block = blocks(page)[position]
        for line, module in NEEDED.items():
            if line in block:
                pytest.importorskip(module, reason=f"{module} comes with the extra 'dev'")
        exec(block, names)
    return names


def image_vectors(names: dict[str, Any]) -> torch.Tensor:
    images = [names["Image"].open(path) for path in names["paths"]]
    with torch.no_grad():
        return names["model"].get_image_features(**names["processor"](images=images, return_tensors="pt")).pooler_output


def test_pipeline_page(here: None, capsys: pytest.CaptureFixture[str]) -> None:
    names = run("pipeline.md", 0, 1)
    assert capsys.readouterr().out.count("cam_a") == 3
    assert [len(hits) for hits in names["answers"]] == [3, 3]
    assert Path("runs/search/pipeline_tbps.py").is_file()
    keys = set(re.findall(r"^\| `(\w+)` \|", (DOCS / "pipeline.md").read_text(), flags=re.MULTILINE))
    assert keys == set(names["hits"][0])


def test_every_block_of_the_habits_is_tested() -> None:
    assert [block.splitlines()[0] for block in blocks("habits.md")] == [
        "from pathlib import Path", "import faiss", "from tbps.evaluation.encoding import encode_images, encode_texts",
        "from PIL import Image", "import numpy as np",
    ]  # fmt: skip


def test_a_faiss_index_ranks_as_the_model(here: None) -> None:
    names = run("habits.md", 0, 1)
    names["Image"] = run("habits.md", 0, 3)["Image"]
    scores = image_vectors(names) @ names["queries"][0]
    expected = scores.sort(descending=True)
    assert names["found"]["path"] == [str(names["paths"][i]) for i in expected.indices[:5].tolist()]
    assert names["scores"] == pytest.approx(expected.values[:5].tolist(), abs=1e-5)


def test_a_matrix_product_ranks_as_the_model(here: None, capsys: pytest.CaptureFixture[str]) -> None:
    names = run("habits.md", 0, 2, 3)
    scores = names["queries"] @ image_vectors(names).T
    assert torch.allclose(names["best"].values, scores.sort(descending=True).values[:, :5], atol=1e-5)
    assert len(re.findall(r"a (?:man|woman) in .*\.png", capsys.readouterr().out)) == 2


def test_probabilities_of_sentences(here: None) -> None:
    probabilities = run("habits.md", 0, 3)["probabilities"]
    assert probabilities.shape == (1, 2)
    assert probabilities.sum().item() == pytest.approx(1)


def test_scikit_learn_reads_the_features(here: None) -> None:
    names = run("habits.md", 0, 3, 4)
    vectors = image_vectors(names)
    nearest = (vectors @ vectors.T - 2 * torch.eye(len(vectors))).argmax(dim=1)
    assert names["neighbours"][:, 0].tolist() == list(range(len(vectors)))
    assert names["neighbours"][:, 1].tolist() == nearest.tolist()
    assert names["accuracy"] >= 0.8  # six people of other colours, one shot of each to learn from


def test_gallery_filters_and_maintenance_pages(here: None) -> None:
    rows = make_rows(Path("runs/demo/data/ToyPEDES/imgs/val"), people=24, first_id=100)
    entries = [{"split": "val", "file_path": f"val/{name}", "captions": captions, "id": person}
               for name, captions, person in zip(rows["file_path"], rows["captions"], rows["person_id"],
                                                 strict=True)]  # fmt: skip
    Path("runs/demo/data/ToyPEDES/reid_raw.json").write_text(json.dumps(entries))
    names = run("gallery.md", 0, 1)
    run("filters.md", 0, after=names)
    run("gallery.md", 2, after=names)
    assert names["gallery"].count() == 12
    assert names["gallery"].why_none(names["late"]).startswith("no image meets the filter, of 12; there are:")
    assert isinstance(names["best"].image, Path)
    assert names["calibration"].captions == 96
    names = run("maintenance.md", 0)
    assert names["gallery"].count() == 12


def test_pretraining_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands around the block, too: shards of a train split, and a step of the quickstart's model on them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    page = (DOCS / "pretraining.md").read_text()
    toy, shard, train = re.findall(r"^\.venv/bin/(?:tbps|python train_hf\.py) (.*runs/.*)$", page, flags=re.MULTILINE)[
        -3:
    ]
    assert cli([*shlex.split(toy), "--images-per-person", "2"]) == 0
    run("pretraining.md", 0)
    assert cli(shlex.split(shard)) == 0
    recipe, *options = shlex.split(train)
    few = ["--max_steps", "2", "--eval_steps", "2", "--save_steps", "2", "--disable_tqdm", "true"]
    results = train_hf([str(DOCS.parent / recipe), *options, *few, "--per_device_train_batch_size", "16"])
    assert results["corpus"] == "mals"


def test_scale_page(here: None) -> None:
    """Without a server it ends in a file of Milvus Lite."""
    lite = pytest.importorskip("milvus_lite.server_manager", reason="milvus-lite comes with the extra 'dev'")
    try:
        names = run("scale.md", 0)
        assert names["gallery"].count() == names["folder"].count() > 5
        expected = names["folder"].search("a woman in a red coat", k=5)
        assert [hit.id for hit in names["hits"]] == [hit.id for hit in expected]
    finally:
        lite.server_manager_instance.release_server("runs/people.db")
