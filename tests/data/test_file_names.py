"""Names of files are UTF-8 whatever the locale, and text of others' files is read as UTF-8 too."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import make_rows

from tbps import TBPSModel, TBPSProcessor
from tbps.data.paths import name_as_text, name_on_disk

PROGRAM = """
import sys
from tbps.cli.main import main
assert sys.getfilesystemencoding() == "ascii"
model, crops, people, lines, sentence, camera, page, name = sys.argv[1:]
statuses = [main(["index", model, crops, people, "--metadata", lines]),
            main(["search", model, people, sentence, "--path", crops + "/" + name]), main(["gallery", "list", people]),
            main(["index", model, crops, people, "--sync", "--drop", "--json"]),
            main(["data", "check", "ToyPEDES", crops]), main(["evaluate", model, "ToyPEDES", crops]),
            main(["search", model, people, sentence, "--camera", camera, "--json", "--roots", crops, "--html", page])]
sys.exit(max(statuses))
"""


@given(st.binary().filter(lambda name: b"\0" not in name))
def test_a_name_becomes_text_and_the_same_name_again(name: bytes) -> None:
    text = name_as_text(os.fsdecode(name))
    assert os.fsencode(name_on_disk(text)) == name
    assert text.encode("utf-8", "surrogateescape") == name


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_locale_without_utf_8_changes_nothing(
    tmp_path: Path, tiny_model: TBPSModel, tiny_processor: TBPSProcessor
) -> None:
    """Names of files, metadata, sentences, filters and pages."""
    tiny_model.save_pretrained(tmp_path / "model")
    tiny_processor.save_pretrained(tmp_path / "model")
    crops = tmp_path / "Fußgänger"
    make_rows(crops, people=2)
    named = crops / "ü名.png"
    (crops / "000_0.png").rename(named)
    entry = {"split": "test", "file_path": named.name, "captions": ["a man"], "id": 1}
    (crops / "reid_raw.json").write_text(json.dumps([entry]))
    (crops / "imgs").symlink_to(crops)
    line = json.dumps({"file": named.name, "camera": "Tür"}, ensure_ascii=False)
    (tmp_path / "lines.jsonl").write_text(line, encoding="utf-8")
    words = ["model", str(crops), "Leute", "lines.jsonl", "a person – in a red coat", "Tür", "Seite.html", named.name]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    [hit] = json.loads(run.stdout.splitlines()[-1])
    assert (hit["path"], hit["metadata"]) == (str(named), {"camera": "Tür"})
    assert rb"in Leute" in run.stdout
    shown = str(named).encode("ascii", "backslashreplace")
    assert run.stdout.count(shown) == 2, "a table and a list spell out what the terminal has no letters for"
    (synced,) = (json.loads(line)["sync"] for line in run.stdout.splitlines() if b'"sync"' in line)
    assert (synced["unchanged"], synced["dropped"]) == (len(list(crops.glob("*.png"))), 0)
    page = (tmp_path / "Seite.html").read_text(encoding="utf-8")
    assert "data:image/jpeg" in page, "the file is found by its name"
    assert "a person – in a red coat" in page
