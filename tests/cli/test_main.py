"""The commands as a user types them: results, pictures, and one-line errors."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_tree import all_commands, example_lines
from PIL import Image
from tiny import CAPTION, make_rows

from tbps import TBPSModel, TBPSProcessor
from tbps.cli.main import build_parser, main
from tbps.data.loading import load_benchmark
from tbps.evaluation.retrieval import evaluate_retrieval
from tbps.gallery.folder.store import FolderStore


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


def test_index_then_search(tmp_path: Path, checkpoint: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery = str(tmp_path / "gallery")
    assert main(["index", checkpoint, str(folder), gallery]) == 0
    assert "12 images added, 12 in" in capsys.readouterr().out
    assert main(["index", checkpoint, str(folder), gallery]) == 0
    assert "0 images added, 12 in" in capsys.readouterr().out
    page, picture = tmp_path / "hits.html", tmp_path / "hits.png"
    search = ["search", checkpoint, gallery, CAPTION.format("red", "blue"), "--html", str(page), "--png", str(picture),
              "--roots", str(folder)]  # fmt: skip
    assert main([*search, "--k", "3"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["rank", "score", "global", "image"]
    scores = [float(line.split()[1]) for line in table[1:4]]
    assert scores == sorted(scores, reverse=True)
    assert str(folder) in table[1]
    assert page.read_text().count("data:image/jpeg") == 3
    with Image.open(picture) as sheet:
        assert sheet.width > 100
    assert main(search) == 0  # ten by default
    assert len([line for line in capsys.readouterr().out.splitlines() if str(folder) in line]) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "MODEL", "TMP/nowhere", "a man"], "is no gallery: it holds no gallery.json"),
        (["search", "MODEL", "TMP/nowhere/none.db", "a man"], "is no gallery"),
        (["search", "MODEL", "TMP/gallery", " "], "' '"),
        (["search", "MODEL", "TMP/gallery", "a \udcff man"], "no Unicode text"),
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


def test_a_bad_file_stops_the_index_but_loses_nothing(
    tmp_path: Path, checkpoint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "zzz.png").write_bytes(b"no picture")
    command = ["index", checkpoint, str(folder), str(tmp_path / "gallery")]
    assert main(command) == 2
    assert "zzz.png" in capsys.readouterr().err
    assert main([*command, "--skip-bad"]) == 0
    out, err = capsys.readouterr()
    assert "0 images added, 12 in" in out
    assert f"tbps: skipped 1 bad images:\n  {folder / 'zzz.png'} is not an image" in err


def test_ten_skipped_images_are_named_and_all_of_them_in_json(
    tmp_path: Path, checkpoint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(12):
        (folder / f"bad{n:02d}.jpg").write_text(f"no image {n}")
    assert main(["index", checkpoint, str(folder), str(tmp_path / "gallery"), "--skip-bad", "--json"]) == 0
    out, err = capsys.readouterr()
    printed = json.loads(out)
    assert (len(printed["added"]), printed["unchanged"], printed["count"]) == (12, 0, 12)
    assert [one["name"] for one in printed["skipped"]] == [str(folder / f"bad{n:02d}.jpg") for n in range(12)]
    assert "bad09.jpg is not an image" in err
    assert "bad10.jpg" not in err
    assert "and 2 more" in err


def test_metadata_of_images_already_there_is_updated_on_request(
    tmp_path: Path, checkpoint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps({"file": f"{n:03d}_0.png", "camera": f"c{n}"}) for n in range(6)]
    (tmp_path / "lines.jsonl").write_text("\n".join(lines))
    command = ["index", checkpoint, str(folder), str(tmp_path / "gallery")]
    main(command)
    command += ["--metadata", str(tmp_path / "lines.jsonl")]
    capsys.readouterr()
    search = ["search", checkpoint, str(tmp_path / "gallery"), "a man", "--camera", "c3", "--json"]
    assert main(command) == 0
    assert main(search) == 3, "without --update what is there stays"
    capsys.readouterr()
    assert main([*command, "--update"]) == 0
    assert "0 images added, 6 updated, 12 in" in capsys.readouterr().out
    assert main(search) == 0
    assert [Path(hit["path"]).name for hit in json.loads(capsys.readouterr().out)] == ["003_0.png"]
    assert main([*command, "--update", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["updated"], printed["unchanged"], printed["count"]) == ([], 12, 12)


def test_ids_that_are_not_there_are_named_and_none_is_an_error(
    tmp_path: Path, checkpoint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = str(tmp_path / "gallery")
    main(["index", checkpoint, str(folder), gallery, "--json"])
    ids = json.loads(capsys.readouterr().out)["added"]
    remove = ["gallery", "remove", gallery]
    assert main([*remove, "typo", ids[0], "typo", ids[0]]) == 0
    out, err = capsys.readouterr()
    assert "1 images removed, 11 left" in out
    assert err == f"tbps: not in {gallery}: typo\n"
    assert main([*remove, ids[1], "typo", ids[2], "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": 2, "unknown": ["typo"]}
    assert main([*remove, ids[0]]) == 2
    out, err = capsys.readouterr()
    assert (out, f"error: Not in {gallery}: {ids[0]}." in err) == ("", True)
    assert main([*remove, "typo", "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == {"removed": 0, "unknown": ["typo"]}


def test_where_no_image_can_be_read_skipping_is_an_error(
    tmp_path: Path, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "0.png").write_text("no image")
    assert main(["index", checkpoint, str(tmp_path / "bad"), str(tmp_path / "gallery"), "--skip-bad"]) == 2
    assert "None of the 1 images could be read" in capsys.readouterr().err
    assert not (tmp_path / "gallery").exists()


def test_nothing_is_made_where_there_is_nothing(tmp_path: Path, checkpoint: str) -> None:
    assert main(["index", checkpoint, str(tmp_path / "none"), str(tmp_path / "gallery")]) == 2
    assert not (tmp_path / "gallery").exists()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "0.png").write_text("no image")
    assert main(["index", checkpoint, str(tmp_path / "bad"), str(tmp_path / "gallery")]) == 2
    assert not (tmp_path / "gallery").exists()
    (tmp_path / "empty").mkdir()
    assert main(["search", checkpoint, str(tmp_path / "empty"), "a man"]) == 2
    assert not list((tmp_path / "empty").iterdir())


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


def test_a_launch_shares_the_work_of_index(tmp_path: Path, checkpoint: str, folder: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m",
               "tbps.cli.main", "index", checkpoint, str(folder), str(tmp_path / "gallery"), "--json"]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    [line] = [line for line in run.stdout.splitlines() if line.startswith("{")]
    assert (len(json.loads(line)["added"]), json.loads(line)["count"]) == (12, 12)


def test_search_for_programs_and_people(
    tmp_path: Path, checkpoint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery, page = str(tmp_path / "gallery"), tmp_path / "hits.html"
    shutil.copy(next(folder.iterdir()), folder / "new\nline.png")
    with Image.open(folder / "new\nline.png") as picture:
        picture.rotate(90).save(folder / "new\nline.png")
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


def test_an_image_and_a_sentence_in_any_order(
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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"file": "none.png"}', "lines.jsonl, line 1: CROPS/none.png is not among the 12 images of the folder"),
        ('{"file": 5}', 'lines.jsonl, line 1: "file" is 5, expected a JSON object'),
        ('{"camera": "c1"}', 'lines.jsonl, line 1: "file" is missing, expected a JSON object'),
        ("[1, 2]", 'lines.jsonl, line 1: expected a JSON object, {"file": PATH BELOW THE FOLDER, ...}, not [1, 2].'),
        ('\ufeff"te\x9bxt"', 'line 1: expected a JSON object, {"file": PATH BELOW THE FOLDER, ...}, not "te\\x9b'),
        ("\n\nfile, camera", "lines.jsonl, line 3 is not valid JSON (Expecting value"),
        ("[" * 100_000, "lines.jsonl, line 1 nests lists or objects too deeply"),
        ('{"file": "FIRST", "place": "\xe9"}', "is not UTF-8"),
        ('\n{"file": "FIRST", "timestamp": "noon"}', "lines.jsonl, line 2: timestamp='noon' is no time"),
        ('{"file": "FIRST", "camera": []}', "lines.jsonl, line 1: camera=[]"),
        ('{"file": "FIRST", "height": NaN}', "lines.jsonl, line 1 cannot be kept as JSON (Out of range"),
        ('{"file": "FIRST", "a": {"b": 1, "b": 2}}', "lines.jsonl, line 1 is not valid JSON ('b' occurs twice)"),
        ('{"file": "FIRST", "timestamp": 1777645800000}', "line 1: timestamp=1777645800000: expected a moment"),
        ('{"file": "FIRST", "x": ' + "[" * 40 + "]" * 40 + "}", "line 1 holds lists or dicts more than 32 deep"),
        ('{"file": "FIRST"}\n\n{"file": "./FIRST"}', "lines.jsonl, line 3: line 1 already describes CROPS/FIRST"),
    ],
)
def test_metadata_lines_at_fault_are_named(
    line: str, message: str, tmp_path: Path, checkpoint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoding = "latin-1" if "\xe9" in line else "utf-8"
    first = min(folder.iterdir()).name
    (tmp_path / "lines.jsonl").write_text(line.replace("FIRST", first), encoding=encoding)
    command = ["index", checkpoint, str(folder), str(tmp_path / "gallery")]
    assert main([*command, "--metadata", str(tmp_path / "lines.jsonl")]) == 2
    assert message.replace("CROPS", str(folder)).replace("FIRST", first) in capsys.readouterr().err
