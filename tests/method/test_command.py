"""The command of the method study: what it refuses, what it plans, and the report of a folder of results."""

from pathlib import Path

import pytest
from run_results import write_run

from benchmarks.method.methods import ABLATED, ABLATIONS, METHODS
from benchmarks.method_study import QUICK, SHORT_STEPS, main, make_parser, stages


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only"], "expected at least one argument"),
        (["--only", "sdm"], "--only sdm: expected some of itc, sdm_id"),
        (["--seeds", "0"], "--seeds: 0: expected 1 or more"),
        (["--workers", "-1"], "--workers: -1: expected 1 or more"),
        (["--noise", "2"], "--noise: 2: expected 0 to 1"),
        (["--noise", "nan"], "--noise: nan: expected 0 to 1"),
        (
            ["--report", "--results", "empty"],
            "empty does not hold results: expected results.csv or runs/METHOD/seedN.json",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_a_broken_result_ends_the_command_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, "itc", 0.5).write_text('{"test": {')
    with pytest.raises(SystemExit, match="1"):
        main(["--report", "--results", str(tmp_path)])
    assert "seed1.json is not a complete result" in capsys.readouterr().err


def test_the_report_has_what_was_run(tmp_path: Path) -> None:
    write_run(tmp_path, "sdm_id", 0.5)
    write_run(tmp_path, "part_matching", 0.625)
    main(["--report", "--results", str(tmp_path)])
    report = (tmp_path / "report.md").read_text()
    assert "| part_matching | 1 | no | - | 62.5 | 62.5 | 62.5 |" in report
    assert "| part_matching | whole | - | - | +12.5 (1) | - | - |" in report
    assert (tmp_path / "report.png").stat().st_size > 10_000


def test_ablations_are_planned_with_the_method_that_they_change(tmp_path: Path) -> None:
    def planned(*arguments: str) -> list[tuple[int, int]]:
        """(runs, steps) of each stage."""
        found = stages(make_parser().parse_args(["--untuned", *arguments]), tmp_path, QUICK)
        return [(len(runs()), regime.steps) for runs, regime in found]

    oracles = sum(method.oracle for method in METHODS.values())
    everything = [(len(METHODS) - oracles, QUICK.steps), (oracles, QUICK.steps), (len(ABLATIONS), QUICK.steps)]
    assert QUICK.steps < SHORT_STEPS
    assert planned("--seeds", "1") == everything
    assert planned("--only", "itc", "--seeds", "2") == [(2, QUICK.steps), (0, QUICK.steps)]
    assert planned("--only", ABLATED, "--seeds", "1") == [(1, QUICK.steps), (0, QUICK.steps), everything[-1]]
    assert planned("--only", ABLATED, "--seeds", "1", "--skip-ablations") == [(1, QUICK.steps), (0, QUICK.steps)]
