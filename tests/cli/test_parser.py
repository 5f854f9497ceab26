"""The parser of the command line: errors on one line, no abbreviations, and options of earlier versions refused."""

import pytest

from tbps.cli.main import main, parse
from tbps.files_tbps import VERSION

RENAMED = [
    (["search", "m", "g", "a man", "--images", "x"], "--images is now called --roots", "tbps search"),
    (["search", "m", "g", "--like", "x"], "--like is now called --image", "tbps search"),
    (["search", "m", "g", "--like=x"], "--like is now called --image", "tbps search"),
    (["search", "m", "g", "--text-share", "1"], "--text-share is now called --text-weight", "tbps search"),
    (["search", "m", "g", "--exclude-alike", "1"], "--exclude-alike is now called --exclude-similar", "tbps search"),
    (["search", "m", "g", "--one-per", "x"], "--one-per is now called --group-by", "tbps search"),
    (["data", "shard", "mals", "a", "b", "--rows-per-shard", "5"],
     "--rows-per-shard is now called --entries-per-shard", "tbps data shard"),
    (["gallery", "build-index", "g", "--lists", "5"], "--lists is now called --nlist", "tbps gallery build-index"),
    (["gallery", "calibrate", "m", "b", "r", "o", "--false-accepts", "0.1"],
     "--false-accepts is now called --false-accept-rate", "tbps gallery calibrate"),
    (["gallery", "index", "g"], "tbps gallery index is now called tbps gallery build-index", "tbps"),
]  # fmt: skip

WRONG = [
    ([], "the following arguments are required: COMMAND", "tbps"),
    (["nonsense"], "invalid choice: 'nonsense'", "tbps"),
    (["search", "m"], "the following arguments are required: GALLERY", "tbps search"),
    (["search", "m", "g", "a man", "--blue"], "unrecognized arguments: --blue", "tbps search"),
    (["gallery", "info", "g", "--js"], "unrecognized arguments: --js", "tbps gallery info"),
    (["search", "m", "g", "--exclude-sim", "0.9"], "unrecognized arguments: --exclude-sim", "tbps search"),
    (["evaluate", "m", "b", "r", "--batch-size", "0"], "argument --batch-size: 0: expected 1 or more", "tbps evaluate"),
]


@pytest.mark.parametrize(("words", "message", "command"), [*RENAMED, *WRONG], ids=str)
def test_wrong_usage_is_one_line_and_status_2(
    words: list[str], message: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("tbps: error: ")
    assert message in line
    assert line.endswith(f" See `{command} --help`.")


@pytest.mark.parametrize("old", ["--images", "--like", "--one-per"])
def test_help_does_not_show_names_of_earlier_versions(old: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["search", "--help"])
    assert f"{old} " not in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"tbps {VERSION}\n"


def test_queries_may_follow_options() -> None:
    options = parse(["search", "m", "g", "a man", "--k", "3", "a woman", "--json", "-"])
    assert options.query == ["a man", "a woman", "-"]
    assert (options.k, options.json) == (3, True)


def test_the_mode_of_an_earlier_version_is_refused_by_its_new_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["search", "m", "g", "a man", "--mode", "prefix"])
    assert "argument --mode: prefix is now called global" in capsys.readouterr().err
