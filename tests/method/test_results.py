"""Results of the method study: single files while it runs, one table afterwards."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from repository import ROOT
from run_results import write_run

from benchmarks.method.collect import collect
from benchmarks.method.plan import Planned
from benchmarks.method.results import (
    TABLE,
    BrokenResultError,
    condense,
    condensed,
    finished_folders,
    finished_in,
    is_finished,
    read_result,
)
from benchmarks.method.run import Regime, is_done
from benchmarks.method_study import main

RESULTS: list[dict[str, Any]] = [
    {"test": {"whole": {"rank_1": 0.1 + 0.2}}, "settings": {"commonality": "none", "layer": None}, "training": {}},
    {"test": {"whole": {"rank_1": 1.0}}, "seed": 1, "machine": "null", "covered": True, "readers": [0.5, 1e-300]},
    {
        "text": "1,000 \"people\"\nand 'more'",
        "empty": "",
        "number in text": "3.50",
        "training": {"noisy_pairs": "filter"},
    },
]


def write(file: Path, result: dict[str, Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result))
    return file


def test_the_table_returns_the_results_that_it_was_made_of(tmp_path: Path) -> None:
    files = [write(tmp_path / "runs" / "itc" / f"seed{i}.json", result) for i, result in enumerate(RESULTS)]
    condense(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [TABLE]
    assert [read_result(file) for file in files] == RESULTS
    assert [type(value) for value in read_result(files[1]).values()] == [dict, int, str, bool, list]


def test_pandas_reads_the_table(tmp_path: Path) -> None:
    write(tmp_path / "runs" / "itc" / "seed1.json", RESULTS[0])
    write(tmp_path / "ablations" / "no ID" / "seed1.json", RESULTS[1])
    condense(tmp_path)
    table = pd.read_csv(tmp_path / TABLE)
    assert table[["stage", "name", "run"]].to_numpy().tolist() == [
        ["ablations", "no ID", "seed1"],
        ["runs", "itc", "seed1"],
    ]
    assert table["test/whole/rank_1"].tolist() == [1.0, 0.1 + 0.2]
    assert table["settings/commonality"].tolist()[1] == "none"
    assert math.isnan(table["seed"].tolist()[1])


def test_a_file_replaces_the_row_of_the_same_run(tmp_path: Path) -> None:
    write_run(tmp_path, "itc", 0.25)
    file = write_run(tmp_path, "tal", 0.25)
    condense(tmp_path)
    condense(tmp_path)  # nothing to do
    assert set(condensed(tmp_path)) == {file, tmp_path / "runs" / "itc" / "seed1.json"}
    write_run(tmp_path, "tal", 0.75)
    assert read_result(file)["test"]["whole"]["rank_1"] == 0.75
    assert finished_in(file.parent) == [file]
    condense(tmp_path)
    assert {path.parent.name: result["test"]["whole"]["rank_1"] for path, result in condensed(tmp_path).items()} == {
        "itc": 0.25,
        "tal": 0.75,
    }


def test_runs_in_the_table_are_not_made_again(tmp_path: Path) -> None:
    file = tmp_path / "runs" / "itc" / "seed1.json"
    regime = {"people": 30, "steps": 2, "batch_size": 8, "start_people": 30, "start_steps": 2}
    write(file, {"settings": {"layer": None}, "training": {}, "oracle": False, "regime": regime})
    condense(tmp_path)
    assert not file.exists()
    assert is_finished(file)
    assert is_done(Planned(file, {"layer": None}, 1, {}), Regime(**regime))
    assert not is_done(Planned(file, {}, 1, {}), Regime(**regime))
    assert not is_done(Planned(file.with_name("seed2.json"), {"layer": None}, 1, {}), Regime(**regime))
    with pytest.raises(FileNotFoundError, match=r"seed2\.json is missing"):
        read_result(file.with_name("seed2.json"))


def test_the_report_of_the_table_is_that_of_the_files(tmp_path: Path) -> None:
    write_run(tmp_path, "sdm_id", 0.5)
    write_run(tmp_path, "part_matching", 0.625)
    write_run(tmp_path, "sdm_id", 0.375, stage="untuned")
    found = collect(tmp_path)
    main(["--report", "--results", str(tmp_path)])
    report = (tmp_path / "report.md").read_bytes()
    condense(tmp_path)
    assert finished_folders(tmp_path, "untuned") == [tmp_path / "untuned" / "sdm_id"]
    assert collect(tmp_path) == found
    main(["--report", "--results", str(tmp_path)])
    assert (tmp_path / "report.md").read_bytes() == report


@pytest.mark.parametrize("text", ["stage,name\nruns,itc\n", "stage,name,run,seed\nruns,itc,seed1\n"])
def test_an_incomplete_table_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / TABLE).write_text(text)
    with pytest.raises(BrokenResultError, match=r"results\.csv is not a complete table"):
        condensed(tmp_path)


def test_the_committed_report_is_that_of_the_committed_table(tmp_path: Path) -> None:
    committed = ROOT / "benchmarks" / "results" / "method_study"
    (tmp_path / TABLE).write_bytes((committed / TABLE).read_bytes())
    main(["--report", "--results", str(tmp_path)])
    assert (tmp_path / "report.md").read_bytes() == (committed / "report.md").read_bytes()
