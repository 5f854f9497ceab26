"""Several queries in one run of `tbps search`: from arguments, from a file and from standard input."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
from tiny import make_rows

from tbps import TBPSModel, TBPSProcessor
from tbps.cli.main import main

FIRST, SECOND, THIRD = "a person with a red coat", "a man – größer", "a bag"


@pytest.fixture
def search(tmp_path: Path, tiny_model: TBPSModel, tiny_processor: TBPSProcessor) -> list[str]:
    """The start of a command that asks a gallery of twelve images for its best two."""
    tiny_model.save_pretrained(tmp_path / "model")
    tiny_processor.save_pretrained(tmp_path / "model")
    make_rows(tmp_path / "crops", people=6)
    assert main(["index", str(tmp_path / "model"), str(tmp_path / "crops"), str(tmp_path / "people")]) == 0
    return ["search", str(tmp_path / "model"), str(tmp_path / "people"), "--k", "2"]


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="ascii"))


def test_each_query_is_answered_as_if_it_were_alone(
    search: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    queries = [FIRST, SECOND, THIRD]
    capsys.readouterr()
    alone = []
    for query in queries:
        assert main([*search, query, "--json"]) == 0
        alone.append(json.loads(capsys.readouterr().out))
    (tmp_path / "queries.txt").write_text(f"\ufeff{SECOND}\n\n  {THIRD}  \n", encoding="utf-8")
    typed(monkeypatch, f"{SECOND}\n \n{THIRD}")
    for words in ([*queries, "--json"], [FIRST, "--json", SECOND, THIRD],
                  [FIRST, "--json", "--queries", str(tmp_path / "queries.txt")], [FIRST, "-", "--json"]):  # fmt: skip
        assert main([*search, *words]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [line["query"] for line in lines] == queries, words
        assert [line["hits"] for line in lines] == alone, words


def test_each_query_has_a_table_and_pages_hold_all(
    search: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    page, sheet = tmp_path / "page.html", tmp_path / "sheet.png"
    assert main([*search, FIRST, SECOND, "--html", str(page), "--png", str(sheet)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[4]] == [FIRST, SECOND]
    assert len(lines) == 8
    assert page.read_text(encoding="utf-8").count('class="query"') == 2
    assert sheet.stat().st_size > 1000


def test_a_typed_line_is_answered_before_the_next_one_is_typed(
    search: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    printed = []

    class Lines:
        def isatty(self) -> bool:
            return True

        @property
        def buffer(self):
            for query in (FIRST, THIRD):
                yield f"{query}\n".encode()
                printed.append(capsys.readouterr().out)

    monkeypatch.setattr(sys, "stdin", Lines())
    assert main([*search, "-"]) == 0
    assert [text.splitlines()[0] for text in printed] == [FIRST, THIRD]


def test_a_faulty_query_is_named_and_the_others_are_answered(
    search: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main([*search, FIRST, "! !", THIRD, "--json"]) == 2
    out, err = capsys.readouterr()
    assert [json.loads(line)["query"] for line in out.splitlines()] == [FIRST, THIRD]
    assert "expected words that describe a person" in err
    assert "1 of the queries failed" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [([], "give a QUERY"), (["--queries", "EMPTY"], "has no query"), (["--queries", "LATIN"], "is not UTF-8"),
     (["--queries", "NONE"], "No such file"), (["--text-weight", "0.5", FIRST, THIRD], "--text-weight weighs"),
     (["a", "man", "in", "red"], "put each query in quotes"), ([FIRST, ""], "put each query in quotes")],
)  # fmt: skip
def test_missing_queries_are_reported_before_the_model_is_loaded(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "EMPTY").write_text("\n \n")
    (tmp_path / "LATIN").write_bytes("größer".encode("latin-1"))
    given = [str(tmp_path / word) if word.isupper() else word for word in words]
    assert main(["search", str(tmp_path / "model"), str(tmp_path / "people"), *given]) == 2
    assert message in capsys.readouterr().err


def test_no_query_with_a_hit_is_status_3(search: list[str]) -> None:
    assert main([*search, FIRST, THIRD, "--min-score", "9"]) == 3
    assert main([*search, FIRST, THIRD, "--min-score", "-9"]) == 0


def test_queries_are_read_from_regular_files_only(
    search: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "fifo")
    for file in (tmp_path / "fifo", tmp_path, Path("/dev/zero")):
        assert main([*search, "--queries", str(file)]) == 2
        assert f"--queries {file} is not a regular file: give -" in capsys.readouterr().err
