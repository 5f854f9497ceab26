"""Checkpoints saved by another version of tbps, or as a pickle."""

import json
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import torch
from repository import ROOT
from transformers import AutoConfig, AutoModel

import tbps
from tbps import TBPSConfig, TBPSModel


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_model: TBPSModel) -> Path:
    tiny_model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def rewrite(checkpoint: Path, **fields: object) -> None:
    """Change fields of config.json; None removes a field."""
    path = checkpoint / "config.json"
    changed = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({name: value for name, value in changed.items() if value is not None}))


def test_the_version_is_one(checkpoint: Path) -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert pyproject["project"]["dynamic"] == ["version"]
    assert pyproject["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "tbps.files_tbps.VERSION"}
    assert metadata.version("tbps") == tbps.__version__
    assert json.loads((checkpoint / "config.json").read_text())["tbps_version"] == tbps.__version__


@pytest.mark.usefixtures("propagate")
def test_a_newer_checkpoint_gives_a_warning(checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rewrite(checkpoint, tbps_version="97.1.0")
    model = AutoModel.from_pretrained(checkpoint)
    assert "tbps 97.1.0 saved this checkpoint, and tbps" in caplog.text
    assert model.config.tbps_version == "97.1.0"
    model.save_pretrained(tmp_path / "again")
    assert AutoConfig.from_pretrained(tmp_path / "again").tbps_version == tbps.__version__


@pytest.mark.usefixtures("propagate")
@pytest.mark.parametrize("version", [None, "0.0.1", tbps.__version__])
def test_an_older_checkpoint_loads_silently(
    version: str | None, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite(checkpoint, tbps_version=version)
    AutoModel.from_pretrained(checkpoint)
    assert "saved this checkpoint" not in caplog.text


@pytest.mark.parametrize("version", ["0.0.1", "98.0.0"])
def test_an_unknown_value_is_reported_with_the_version(version: str, checkpoint: Path) -> None:
    rewrite(checkpoint, tbps_version=version, pooling="attention")
    with pytest.raises(ValueError, match=rf"(?s)pooling='attention': expected one of.*tbps {version} saved"):
        AutoModel.from_pretrained(checkpoint)
    rewrite(checkpoint, tbps_version=tbps.__version__)
    with pytest.raises(Exception, match="pooling='attention'") as caught:
        TBPSConfig.from_pretrained(checkpoint)
    assert "saved" not in str(caught.value)


def test_a_pickle_is_refused(checkpoint: Path, tiny_model: TBPSModel) -> None:
    torch.save(tiny_model.state_dict(), checkpoint / "pytorch_model.bin")
    AutoModel.from_pretrained(checkpoint)  # the safetensors beside it
    (checkpoint / "model.safetensors").unlink()
    for options in ({}, {"use_safetensors": False}):
        with pytest.raises(ValueError, match=r"pytorch_model\.bin, a pickle, and no model\.safetensors"):
            AutoModel.from_pretrained(checkpoint, **options)
    with pytest.raises(ValueError, match=r"model/pytorch_model\.bin, a pickle"):
        AutoModel.from_pretrained(checkpoint.parent, subfolder="model")
    (checkpoint / "pytorch_model.bin").unlink()
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        AutoModel.from_pretrained(checkpoint)
