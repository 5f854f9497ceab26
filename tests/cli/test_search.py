"""`tbps search`: tables, JSON, images and pages of results; queries of text and image."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny import CAPTION

from tbps.cli.main import main


def test_index_then_search(tmp_path: Path, checkpoint: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery = str(tmp_path / "gallery")
    assert main(["index", checkpoint, str(folder), gallery]) == 0
    assert "12 images added, 12 in" in capsys.readouterr().out
    assert main(["index", checkpoint, str(folder), gallery]) == 0
    assert "0 images added, 12 in" in capsys.readouterr().out
    page, sheet = tmp_path / "hits.html", tmp_path / "hits.png"
    search = ["search", checkpoint, gallery, CAPTION.format("red", "blue"), "--html", str(page), "--png", str(sheet),
              "--roots", str(folder)]  # fmt: skip
    assert main([*search, "--k", "3"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["rank", "score", "global", "image"]
    scores = [float(line.split()[1]) for line in table[1:4]]
    assert scores == sorted(scores, reverse=True)
    assert str(folder) in table[1]
    assert page.read_text().count("data:image/jpeg") == 3
    with Image.open(sheet) as image:
        assert image.width > 100
    assert main(search) == 0  # ten by default
    assert len([line for line in capsys.readouterr().out.splitlines() if str(folder) in line]) == 10


def test_search_for_programs_and_people(
    tmp_path: Path, checkpoint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery, page = str(tmp_path / "gallery"), tmp_path / "hits.html"
    shutil.copy(next(folder.iterdir()), folder / "new\nline.png")
    with Image.open(folder / "new\nline.png") as image:
        image.rotate(90).save(folder / "new\nline.png")
    main(["index", checkpoint, str(folder), gallery])
    capsys.readouterr()
    search = ["search", checkpoint, gallery, "a man", "--k", "13"]
    assert main([*search, "--json", "--html", str(page)]) == 0
    hits = json.loads(capsys.readouterr().out)
    assert len(hits) == 13
    assert sum(hits[0]["parts"]) == pytest.approx(hits[0]["score"], abs=1e-5)
    assert page.exists()
    assert main(search) == 0
    printed = capsys.readouterr().out
    assert "new\\nline.png" in printed
    assert len(printed.splitlines()) == 14
    assert main([*search, "--min-score", "2"]) == 3
    assert "no good match" in capsys.readouterr().out
    assert main([*search, "--exclude-similar", "0.9"]) == 2
    assert "--exclude ID" in capsys.readouterr().err


def test_names_that_the_terminal_cannot_print_are_escaped(tmp_path: Path, checkpoint: str, folder: Path) -> None:
    min(folder.iterdir()).rename(folder / "ü名.png")
    main(["index", checkpoint, str(folder), str(tmp_path / "gallery")])
    command = [sys.executable, "-m", "tbps", "search", checkpoint, str(tmp_path / "gallery"), "a man", "--k", "12"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "PYTHONPROFILEIMPORTTIME": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    assert rb"\xfc\u540d.png" in run.stdout
    imported = {line.rpartition(b"|")[2].strip() for line in run.stderr.splitlines()}
    assert b"transformers" in imported
    assert not imported & {b"datasets", b"matplotlib"}, "a search takes no time for what it does not need"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("gallery/gallery.json", "lies among the files of a gallery"),
        ("gallery/hits", "lies among the files of a gallery"),
        ("link/hits", "lies among the files of a gallery"),
        ("none/hits", "there is no folder"),
        ("crops", "is a folder"),
        (os.devnull, "is a device"),
    ],
)
def test_results_are_refused_where_they_cannot_be_before_any_work(
    place: str, message: str, tmp_path: Path, checkpoint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = tmp_path / "gallery"
    main(["index", checkpoint, str(folder), str(gallery)])
    (tmp_path / "link").symlink_to(gallery, target_is_directory=True)
    before = sorted(tmp_path.rglob("*")), (gallery / "gallery.json").read_bytes()
    out = str(tmp_path / place)
    search = ["search", "no model is read", str(gallery), "a man"]
    for name, command in [("--html", [*search, "--html", out]), ("--png", [*search, "--png", out]),
                          ("OUT", ["gallery", "calibrate", "none", "ToyPEDES", "none", out])]:  # fmt: skip
        assert main(command) == 2
        said = capsys.readouterr().err
        assert message in said
        assert f"{name} {out}" in said
    assert (sorted(tmp_path.rglob("*")), (gallery / "gallery.json").read_bytes()) == before


def test_an_image_and_a_text_in_any_order(
    tmp_path: Path, checkpoint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["index", checkpoint, str(folder), str(tmp_path / "gallery")])
    capsys.readouterr()
    like = ["--image", str(min(folder.iterdir())), "--html", str(tmp_path / "page.html")]
    begin = ["search", checkpoint, str(tmp_path / "gallery")]
    printed = []
    for command in ([*begin, "but in red", *like], [*begin, *like, "but in red"]):
        assert main(command) == 0
        printed.append(capsys.readouterr().out)
        page = (tmp_path / "page.html").read_text()
        assert "but in red" in page
        assert f"like {min(folder.iterdir())}" in page
    assert printed[0] == printed[1]
    for share, same in (("0.5", True), ("0.9", False)):
        assert main([*begin, "but in red", *like, "--text-weight", share]) == 0
        assert (capsys.readouterr().out == printed[0]) == same
    assert main([*begin, *like, "but", "in", "red"]) == 2
    assert "put each query in quotes" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*begin, "a man", "--blue"])
    assert "unrecognized arguments" in capsys.readouterr().err
    for wrong in ("2", "=2"):
        with pytest.raises(SystemExit, match="2"):
            main([*begin, "a man", "--metadata", wrong])
        assert f"{wrong}: expected NAME=VALUE" in capsys.readouterr().err
