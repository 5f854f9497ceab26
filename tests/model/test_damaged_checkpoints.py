"""Checkpoints with altered files: they load, or one clear error says what is wrong, in every loader and command."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_config, make_rows, make_tokenizer

from tbps import TBPSConfig, TBPSImageProcessor, TBPSModel, TBPSProcessor
from tbps.cli.main import main

EXPECTED = (ValueError, OSError)
USELESS = ["", "[]", "null", "{}", "3", '"a"', '{"a":', "\ufeff{}", "[" * 5000]
FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "processor_config.json"]
HOSTILE = st.sampled_from(
    [None, True, 0, -1, 2**70, 1.5, float("nan"), "", "float99", "three", [], [0], ["a"], [1, 2, 3], {}, {"a": 1}]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Iterate over the path of each value of a configuration, nested ones too."""
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield (*path, name)
        yield from places(inner, (*path, name))


def error_of(load: Callable[[Any], Any], given: Any) -> str | None:
    """Load, and return the message of an expected error, or None. Any other error fails the test."""
    try:
        load(given)
    except EXPECTED as error:
        return str(error)
    return None


COMPLETE = make_config().to_dict()
SIZES = {"num_hidden_layers", "decoder_layers"}  # 2**70 layers would be built one by one


@settings(max_examples=150, deadline=None)
@given(place=st.sampled_from([path for path in places(COMPLETE) if path[-1] not in SIZES]), value=HOSTILE)
def test_any_value_of_a_configuration_is_accepted_or_refused(place: tuple[str, ...], value: Any) -> None:
    changed = copy.deepcopy(COMPLETE)
    inner = changed
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    assert error_of(TBPSConfig.from_dict, changed) != ""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    TBPSModel(make_config()).save_pretrained(folder)
    TBPSProcessor(TBPSImageProcessor(size={"height": 32, "width": 16}), make_tokenizer()).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("text", USELESS)
@pytest.mark.parametrize("file", FILES)
def test_a_useless_file_is_named(file: str, text: str, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    (folder / file).write_text(text, encoding="utf-8")
    ways: list[Callable[[Path], Any]] = [TBPSProcessor.from_pretrained]
    if file == "config.json":
        ways += [TBPSModel.from_pretrained, lambda place: TBPSModel.from_vision_text_pretrained(str(place))]
    for load in ways:
        assert error_of(load, folder) != ""


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [("config.json", json.dumps({**COMPLETE, "num_parts": 0}), "num_parts=0: expected 1 or more"),
     ("config.json", json.dumps({**COMPLETE, "num_parts": "three"}), "'num_parts' expected int"),
     ("tokenizer.json", "null", "The processor of"), ("tokenizer_config.json", "[]", "The processor of"),
     ("processor_config.json", "null", "The processor of"), ("tokenizer.json", "{", "The processor of")],
)  # fmt: skip
def test_the_command_reports_it_on_one_line(
    file: str, text: str, expected: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    (folder / file).write_text(text, encoding="utf-8")
    make_rows(tmp_path / "images", people=1)
    capsys.readouterr()
    assert main(["index", str(folder), str(tmp_path / "images"), str(tmp_path / "gallery")]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tbps: error: ")]
    assert len(lines) == 1
    assert expected in lines[0]
    assert not (tmp_path / "gallery").exists()
