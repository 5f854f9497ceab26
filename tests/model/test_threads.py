"""Programs set OpenMP's wait policy before they import torch, which reads it once.

Waiting threads then sleep, so that a busy machine does not stall a program.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

AT_TORCH = """
import os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            os.write(1, os.environ.get("OMP_WAIT_POLICY", "not set").encode())
            os._exit(0)

sys.meta_path.insert(0, Watch())
"""
PROGRAMS = {
    "train_hf.py": ["train_hf.py"],
    "demo.py": ["demo.py"],
    "tbps": ["-m", "tbps", "search", "model", "g", "bag"],
}


@pytest.mark.parametrize(
    ("program", "asked"), [("train_hf.py", None), ("demo.py", None), ("tbps", None), ("tbps", "active")]
)
def test_the_policy_is_set_before_torch_is_imported_unless_the_user_set_it(
    program: str, asked: str | None, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(AT_TORCH)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"PYTHONPATH": str(tmp_path)} | ({} if asked is None else {"OMP_WAIT_POLICY": asked})
    done = subprocess.run(
        [sys.executable, *PROGRAMS[program]], env=environment, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stdout == (asked or "passive"), done.stderr
