"""The three examples, run by the very commands of their pages on a tiny model and tiny data."""

import runpy
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from repository import ROOT
from tiny import make_rows
from transformers import AutoModel, AutoProcessor, BatchFeature

from tbps import TBPSModel, TBPSProcessor
from tbps.data.loading import load_benchmark
from tbps.data.toypedes import generate
from tbps.evaluation.retrieval import evaluate_retrieval

QUICK = ["--epochs", "1", "--batch_size", "28"]
ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")


def command(name: str) -> list[str]:
    """The arguments of the first command of an example's page, which its header gives too."""
    line = f"python examples/{name}.py "
    page = (ROOT / "docs" / "examples" / f"{name}.md").read_text().splitlines()
    given = next(text for text in page if line in text)
    assert given.removeprefix(".venv/bin/") in (ROOT / "examples" / f"{name}.py").read_text()
    return shlex.split(given.split(line)[1])


@pytest.fixture
def start(
    tmp_path: Path,
    model_factory: Callable[..., TBPSModel],
    tiny_processor: TBPSProcessor,
    monkeypatch: pytest.MonkeyPatch,
) -> TBPSModel:
    """The model that lies where the commands expect the demonstration's."""
    model = model_factory(text_part_weights=True)
    model.save_pretrained(tmp_path / "runs/demo/model")
    tiny_processor.save_pretrained(tmp_path / "runs/demo/model")
    monkeypatch.chdir(tmp_path)
    return model


def run(name: str, *changes: str) -> None:
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"]([*command(name), *changes])


def test_search_folder(start: TBPSModel, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("runs/demo/data/ToyPEDES/imgs/cam_a")
    make_rows(folder, people=6)
    run("search_folder", "--k", "3")
    first = capsys.readouterr().out.splitlines()
    assert first[0] == "12 images added, 12 in runs/gallery"
    assert len(first) == 4
    assert all(str(folder) in line for line in first[1:])
    scores = [float(line.split()[0]) for line in first[1:]]
    assert scores == sorted(scores, reverse=True)
    (folder / "broken.png").write_bytes(b"no picture")
    run("search_folder", "--k", "20")
    again = capsys.readouterr().out.splitlines()
    assert again[0] == "0 images added, 12 in runs/gallery"
    assert again[1].startswith(f"skipped: {(folder / 'broken.png').absolute()}")
    assert again[2:5] == first[1:]
    assert len(again) == 14


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def assert_told(printed: str, folder: str) -> None:
    """What was printed last is the retrieval of the checkpoint that was saved."""
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    assert type(model) is TBPSModel
    measured = evaluate_retrieval(
        model, processor, load_benchmark("ToyPEDES", "runs/more-people")["test"], progress=False
    )
    told = {line.split()[0]: float(line.split()[-1]) for line in printed.splitlines() if " -> " in line}
    assert told == pytest.approx({name: 100 * value for name, value in measured.items()}, abs=0.06)


def test_finetune_trainer(start: TBPSModel, capsys: pytest.CaptureFixture[str]) -> None:
    generate("runs/more-people", people=20, images_per_person=2, workers=1, progress=False)
    run("finetune_trainer", *QUICK)
    assert_told(capsys.readouterr().out, "runs/finetuned")
    trained = changed(start.state_dict(), AutoModel.from_pretrained("runs/finetuned").state_dict())
    assert any(name.startswith("vision_model.") and "mlp" in name for name in trained)
    assert any(name.startswith("part_decoder.") for name in trained)


def test_finetune_lora(start: TBPSModel, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("peft", reason="peft comes with the extra 'examples'")
    generate("runs/more-people", people=20, images_per_person=2, workers=1, progress=False)
    run("finetune_lora", *QUICK)
    assert_told(capsys.readouterr().out, "runs/lora")
    trained = changed(start.state_dict(), AutoModel.from_pretrained("runs/lora").state_dict())
    towers = {name for name in trained if name.startswith(("vision_model.", "text_model."))}
    weights = {name for name in start.state_dict() if name.endswith(".weight") and name.split(".")[-2] in ATTENTION}
    assert towers == {name for name in weights if name.startswith(("vision_model.", "text_model."))}
    whole = {name.split(".")[0] for name in trained - towers}
    assert whole == {"part_decoder", "part_weighting", "visual_projection", "text_projection"}


@torch.no_grad()
def test_merged_adapters_give_the_adapted_embeddings(
    model_factory: Callable[..., TBPSModel], batch: BatchFeature, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft", reason="peft comes with the extra 'examples'")
    names: dict[str, Any] = runpy.run_path(str(ROOT / "examples" / "finetune_lora.py"))
    plain = model_factory(text_part_weights=True)(**batch)
    model = model_factory(text_part_weights=True)
    trained = [name for name in names["FULLY_TRAINED"] if getattr(model, name) is not None]
    lora = peft.LoraConfig(r=4, target_modules=names["TARGETS"], modules_to_save=trained)
    adapted = peft.get_peft_model(model, lora).eval()
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    expected = adapted(**batch)
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    found = AutoModel.from_pretrained(tmp_path / "merged").eval()(**batch)
    for name in ("text_embeds", "image_embeds"):
        assert (found[name] - expected[name]).abs().max() < 1e-5
        assert (found[name] - plain[name]).abs().max() > 1e-2
