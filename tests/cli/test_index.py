"""`tbps index`: new and known images, bad images, metadata, and several processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tbps.cli.main import main


def test_a_bad_file_stops_the_index_but_loses_nothing(
    tmp_path: Path, checkpoint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "zzz.png").write_bytes(b"no image")
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


def test_a_launch_shares_the_work_of_index(tmp_path: Path, checkpoint: str, folder: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m",
               "tbps.cli.main", "index", checkpoint, str(folder), str(tmp_path / "gallery"), "--json"]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    [line] = [line for line in run.stdout.splitlines() if line.startswith("{")]
    assert (len(json.loads(line)["added"]), json.loads(line)["count"]) == (12, 12)
