"""`tbps gallery list` and `remove`: by ids and by filters."""

import json
import os
from pathlib import Path

import pytest

from tbps.cli.main import main


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


def test_a_reader_of_a_list_may_stop(people, capsys, monkeypatch):
    """As `head` does: no error, and nothing more is written to it."""

    def closed(line):
        raise BrokenPipeError

    silenced = []
    monkeypatch.setattr("tbps.cli.listing.show", closed)
    monkeypatch.setattr(os, "dup2", lambda _, to: silenced.append(to))
    assert main(["gallery", "list", people]) == 141
    assert (silenced, capsys.readouterr().err) == ([1], "")


def test_the_values_of_a_name_are_counted(people, capsys):
    for name, expected in (
        ("camera", ['2  "c1"', '2  "c2"']),
        ("plate", ['1  "12"', "1  12", '1  "1e5"', '1  "null"']),
    ):
        assert main(["gallery", "list", people, "--values", name]) == 0
        assert [line.strip() for line in capsys.readouterr().out.splitlines()] == expected
    assert main(["gallery", "list", people, "--values", "camera", "--metadata", "floor<2"]) == 0
    assert capsys.readouterr().out.split() == ["1", '"c1"']
    assert main(["gallery", "list", people, "--values", "camera", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [{"value": "c1", "count": 2}, {"value": "c2", "count": 2}]


@pytest.mark.parametrize("both", [["--count", "--values", "camera"], ["--values", "camera", "--columns", "id"],
                                  ["--columns", "id", "--count"]])  # fmt: skip
def test_a_list_shows_one_thing_and_ignores_no_option(both, people, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["gallery", "list", people, *both])
    assert stopped.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_removal_by_a_filter_counts_first_and_needs_a_word(people, capsys):
    command = ["gallery", "remove", people, "--until", "30d", "--camera", "c1", "--camera", "c2"]
    assert main([*command, "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "3 of 4 images would be removed\n"
    assert "1 images have no timestamp and never meet --until" in printed.err
    assert main(command) == 2
    assert "3 of 4 images meet the filter; none was removed" in capsys.readouterr().err
    assert main([*command, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": 0, "found": 3}
    assert main([*command, "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": 3, "found": 3}
    assert main([*command, "--yes"]) == 0
    assert capsys.readouterr().out == "0 images removed, 1 left\n"
    assert main(["gallery", "remove", people, "id4", "--dry-run"]) == 0
    assert capsys.readouterr().out == "1 of 1 images would be removed\n"
    for wrong, said in (([], "Give IDs, or a filter"), (["id4", "--camera", "c1", "--yes"], "Give IDs, or a filter"),
                        (["--where", "{}", "--yes"], "has no conditions")):  # fmt: skip
        assert main(["gallery", "remove", people, *wrong]) == 2
        assert said in capsys.readouterr().err
    assert main(["gallery", "list", people, "--count"]) == 0
    assert capsys.readouterr().out == "1\n"
