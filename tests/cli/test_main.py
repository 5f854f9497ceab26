"""Commands as a user types them: what they print, one-line errors, and the examples in their help."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_tree import all_commands, example_lines

from tbps import TBPSModel, TBPSProcessor
from tbps.cli.main import build_parser, main
from tbps.data.loading import load_benchmark
from tbps.evaluation.retrieval import evaluate_retrieval
from tbps.gallery.folder.store import FolderStore


def test_the_package_runs_as_the_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tbps", "data", "verify", "x"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "tbps: error: x has no corpus.json" in run.stderr


def test_toy_data_then_check_then_evaluate(
    tmp_path: Path, checkpoint: str, tiny_model: TBPSModel, tiny_processor: TBPSProcessor,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(["data", "toy", str(tmp_path), "--people", "20", "--seed", "4"]) == 0
    assert "chance" in capsys.readouterr().out
    assert main(["data", "check", "ToyPEDES", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.split()
    assert lines[:7] == ["train", "14", "people", "42", "images", "84", "captions"]
    command = ["evaluate", checkpoint, "toypedes", str(tmp_path), "--split", "test"]
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    rows = load_benchmark("ToyPEDES", tmp_path)["test"]
    assert printed == pytest.approx(evaluate_retrieval(tiny_model, tiny_processor, rows, progress=False))
    assert main(command) == 0
    assert f"{100 * printed['rank_1']:.2f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "MODEL", "TMP/nowhere", "a man"], "nowhere is not a gallery: it does not exist"),
        (["search", "MODEL", "TMP/nowhere/none.db", "a man"], "is not a gallery"),
        (["search", "MODEL", "TMP/gallery", " "], "' '"),
        (["search", "MODEL", "TMP/gallery", "a \udcff man"], "not Unicode text"),
        (["search", "MODEL", "TMP/gallery", "a man", "--metadata", "floor=null"], "floor"),
        (["search", "MODEL", "TMP/gallery", "--image", "TMP/x", "--calibration", "TMP/c"], "give --min-score too"),
        (["search", "MODEL", "TMP/gallery", "a man", "--k", "13"], "k=13 is more than the 12 images"),
        (["search", "MODEL", "TMP/gallery", "a man", "--k", "0"], "k=0: expected 1 or more"),
        (["index", "MODEL", "TMP/none", "TMP/gallery"], "none"),
        (["evaluate", "MODEL", "CUHK-PEDES", "TMP"], "reid_raw.json"),
        (["evaluate", "MODEL", "Market", "TMP"], "ToyPEDES"),
        (["data", "toy", "TMP", "--people", "3"], "3"),
        (["search", "TMP/crops", "TMP/gallery", "a man"], "crops"),
        (["search", "MODEL", "TMP/gallery", "!!! 😀"], "expected words that describe a person"),
        (["search", "MODEL", "TMP/gallery", "a man", "--text-weight", "0.5"], "--text-weight weighs QUERY against"),
        (["search", "MODEL", "TMP/gallery", "--image", "TMP/x", "--text-weight", "0"], "--text-weight weighs QUERY"),
    ],
)
def test_what_users_can_mend_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    checkpoint: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["index", checkpoint, str(folder), str(tmp_path / "gallery")])
    capsys.readouterr()
    given = [word.replace("MODEL", checkpoint).replace("TMP", str(tmp_path)) for word in arguments]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert "tbps: error: " in said
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "nowhere").exists()


def test_every_command_shows_an_example_that_works(
    tmp_path: Path, checkpoint: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order in which somebody would use them; only the Hub is not there."""
    monkeypatch.chdir(tmp_path)
    examples = {name: example_lines(parser) for name, parser in all_commands(build_parser())}
    assert set(examples) >= {"data toy", "index", "search", "gallery info", "gallery import", "evaluate", "push"}
    assert not [name for name, lines in examples.items() if not lines]
    lines = [f'{{"file": "{crop.name}", "camera": "c1", "timestamp": "2026-05-02"}}' for crop in folder.iterdir()]
    (tmp_path / "crops.jsonl").write_text("\n".join(lines))
    (tmp_path / "MALS" / "images").mkdir(parents=True)
    entries = [{"image": crop.name, "caption": "a man", "image_id": n} for n, crop in enumerate(folder.iterdir())]
    (tmp_path / "MALS" / "train.json").write_text(json.dumps(entries))
    for crop in folder.iterdir():
        (tmp_path / "MALS" / "images" / crop.name).symlink_to(crop)
    order = ["data toy", "data check", "data shard", "data verify", "evaluate", "index", "search", "gallery info",
             "gallery build-index", "gallery list", "gallery export", "gallery import", "gallery calibrate",
             "gallery remove", "gallery compact", "gallery check", "gallery repair"]  # fmt: skip
    assert set(examples) - set(order) == {"push"}
    for name in order:
        for line in examples[name]:
            if name == "gallery remove" and "--" not in line:
                line = f"{line.rpartition(' ')[0]} {next(FolderStore.read(tmp_path / 'people').scan())[0][0].id}"
            status = main(shlex.split(line)[1:])
            assert status == 0, (line, capsys.readouterr())
            capsys.readouterr()
