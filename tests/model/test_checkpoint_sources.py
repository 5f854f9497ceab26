"""Paths that are not checkpoints give one line of error in every loader and command; the Hub commit of a checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModel
from transformers.dynamic_module_utils import get_relative_import_files

import train_hf
from tbps import TBPSModel, TBPSProcessor
from tbps.cli.main import main
from tbps.data.toypedes import generate
from tbps.evaluation.fingerprint import identify


def made(path: Path, *files: tuple[str, str]) -> Path:
    path.mkdir(parents=True)
    for name, text in files:
        (path / name).write_text(text)
    return path


def torch_file(path: Path) -> Path:
    torch.save({"weights": torch.zeros(2)}, path)
    return path


CONFIG = "config.json"
WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    ".pt": (lambda folder: torch_file(folder / "best.pt"), r"best\.pt is a file: expected a checkpoint.*a pickle"),
    ".pth": (lambda folder: torch_file(folder / "best.pth"), r"best\.pth is a file: expected a .*a pickle"),
    ".bin": (lambda folder: torch_file(folder / "m.bin"), r"m\.bin is a file: expected a checkpoint.*a pickle"),
    "weights": (lambda folder: made(folder / "run", ("model.safetensors", "")) / "model.safetensors",
                r"model\.safetensors is a file: expected a checkpoint.*Give its folder, .*run"),
    "configuration": (lambda folder: made(folder / "run", (CONFIG, "{}")) / CONFIG, r"Give its folder, .*run"),
    "a folder of a .pth": (lambda folder: torch_file(made(folder / "run") / "net.pth").parent,
                           r"run has no config\.json \(it holds net\.pth\): expected a checkpoint"),
    "an empty folder": (lambda folder: made(folder / "run"), r"has no config\.json \(it is empty\): expected"),
    "no JSON": (lambda folder: made(folder / "run", (CONFIG, "{")), r"config\.json is not a configuration \(Expecting"),
    "a list": (lambda folder: made(folder / "run", (CONFIG, "[]")), r"config\.json is not a configuration"),
    "deep": (lambda folder: made(folder / "run", (CONFIG, "[" * 100_000)), r"config\.json is not a configuration"),
    "no type": (lambda folder: made(folder / "run", (CONFIG, '{"a": 1}')), r"config\.json has no model_type"),
    "nothing": (lambda folder: folder / "run" / "model", r"model does not exist: expected a checkpoint"),
    "a lost file": (lambda folder: Path("best.pth"), r"best\.pth does not exist: expected a checkpoint"),
}  # fmt: skip
LOADERS: list[Callable[[str], Any]] = [TBPSModel.from_pretrained, TBPSModel.from_vision_text_pretrained]


@pytest.mark.parametrize("case", WRONG)
def test_a_path_that_is_not_a_checkpoint_is_named(case: str, tmp_path: Path) -> None:
    make, message = WRONG[case]
    source = str(make(tmp_path))
    for load in (*LOADERS, TBPSProcessor.from_vision_text_pretrained):
        with pytest.raises((ValueError, OSError), match=message):
            load(source)
    if "is a file" in message:
        with pytest.raises(ValueError, match=message):
            TBPSProcessor.from_pretrained(source)


@pytest.mark.parametrize("case", [".pt", "a folder of a .pth", "no JSON", "nothing"])
def test_every_command_reports_it_on_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, message = WRONG[case]
    source = str(make(tmp_path))
    generate(tmp_path / "data", people=10, images_per_person=1, workers=1, progress=False)
    crops = str(tmp_path / "data" / "ToyPEDES" / "imgs")
    commands = [
        ["evaluate", source, "ToyPEDES", str(tmp_path / "data")],
        ["index", source, crops, str(tmp_path / "gallery")],
        ["gallery", "calibrate", source, "ToyPEDES", str(tmp_path / "data"), str(tmp_path / "calibration.json")],
        ["push", source, "me/model"],
    ]
    for command in commands:
        assert main(command) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith("tbps: error:")
        assert any(
            expected in line for expected in ("expected a checkpoint", "Get the checkpoint again", "holds no model")
        )
    assert not (tmp_path / "gallery").exists()
    for key in ("model_name_or_path", "clip_checkpoint"):
        recipe = {
            key: source,
            "root": str(tmp_path / "data"),
            "benchmark": "ToyPEDES",
            "output_dir": str(tmp_path / "o"),
        }
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        with pytest.raises((ValueError, OSError), match=message):
            train_hf.main([str(tmp_path / "recipe.yaml")])


def test_a_checkpoint_of_another_kind_is_named(tmp_path: Path) -> None:
    made(tmp_path / "bert", (CONFIG, '{"model_type": "bert"}'))
    with pytest.raises(
        ValueError, match=r"holds a model of type 'bert': expected a tbps checkpoint. .*clip_checkpoint"
    ):
        TBPSModel.from_pretrained(tmp_path / "bert")


# -- the commit of a checkpoint, and the code in its folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_the_hub_commit_is_recorded(
    tmp_path: Path, tiny_model: TBPSModel, tiny_processor: TBPSProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--someone--model"
    snapshot = repository / "snapshots" / COMMIT
    tiny_model.save_pretrained(snapshot)
    tiny_processor.save_pretrained(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    cached = {"cache_dir": tmp_path, "local_files_only": True}
    for model in (
        AutoModel.from_pretrained("someone/model", **cached),
        TBPSModel.from_pretrained("someone/model", **cached),
        TBPSModel.from_pretrained("someone/model", revision=COMMIT, **cached),
        AutoModel.from_pretrained(snapshot),
    ):
        assert identify(model, tiny_processor).revision == COMMIT
        model.save_pretrained(tmp_path / "own")
    assert COMMIT not in (tmp_path / "own" / CONFIG).read_text()
    assert identify(AutoModel.from_pretrained(tmp_path / "own"), tiny_processor).revision is None


def test_all_files_of_the_code_tell_two_folders_apart(
    tmp_path: Path, tiny_model: TBPSModel, tiny_processor: Any
) -> None:
    """Transformers tells the code of two folders apart by the imports of the configuration's module."""
    tiny_model.save_pretrained(tmp_path)
    tiny_processor.save_pretrained(tmp_path)
    code = {path.name for path in tmp_path.glob("*.py")}
    counted = {Path(path).name for path in get_relative_import_files(tmp_path / "configuration_tbps.py")}
    assert counted | {"configuration_tbps.py"} == code
    assert json.loads((tmp_path / CONFIG).read_text())["auto_map"]["AutoConfig"] == "configuration_tbps.TBPSConfig"
