"""What the command imports: help and wrong usage need no model, a search nothing but the model and the gallery."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tbps

HEAVY = {"accelerate", "datasets", "matplotlib", "numpy", "pandas", "pyarrow", "torch", "transformers"}


def imported(*command: str | Path) -> set[str]:
    """The packages that a program in a process of its own imports."""
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in run.stderr.splitlines() if line.startswith("import time:")]
    assert lines, run.stderr
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize("words", [["--help"], ["search", "--help"], ["gallery"], ["nonsense"]])
def test_help_and_wrong_usage_import_nothing_heavy(words: list[str]) -> None:
    packages = imported(sys.executable, "-m", "tbps", *words)
    assert "tbps" in packages
    assert not packages & HEAVY


def test_the_installed_program_is_as_light() -> None:
    program = Path(sys.executable).parent / "tbps"
    if not program.exists():
        pytest.skip("the package is not installed beside this interpreter")
    assert not imported(program, "--help") & HEAVY


@pytest.mark.parametrize(
    ("program", "words", "is_the_command"),
    [
        ("BESIDE/tbps", [], True),
        ("ELSEWHERE/tbps", [], False),
        ("BESIDE/pytest", [], False),
        ("", [], False),
        ("-m", ["-m", "tbps", "search"], True),
        ("-m", ["-X", "utf8", "-m", "tbps.cli.main", "index"], True),
        ("-m", ["-m", "pytest", "-m", "tbps"], False),
        ("-c", ["-c", "import tbps", "-m", "tbps"], False),
    ],
)
def test_every_other_program_finds_the_model_registered(
    program: str, words: list[str], is_the_command: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = str(Path(sys.executable).parent)
    program = program.replace("BESIDE", beside).replace("ELSEWHERE", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [program, "--help"])
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, *words])
    assert tbps._is_the_command() == is_the_command


def test_every_public_name_is_there() -> None:
    assert set(tbps.LAZY) == set(tbps.__all__)
    assert all(getattr(tbps, name).__name__ == name for name in tbps.__all__)
    assert not hasattr(tbps, "nonsense")
