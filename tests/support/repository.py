"""The root folder of this repository, and a launcher for the scripts of its tests."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def load_script(path: Path) -> ModuleType:
    """Import a file of the repository that is not part of a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def torchrun(script: str, *arguments: object, code: int = 0) -> str:
    """
    Run a script of this folder under torchrun in two processes.

    Args:
        script: its file name. arguments: its arguments. code: the exit status to expect.

    Returns:
        Its output.
    """
    path = Path(__file__).with_name(script)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # scripts also import benchmarks
    run = subprocess.run([*launch, *map(str, arguments)], cwd=path.parent, env=environment,
                         capture_output=True, text=True, check=False)  # fmt: skip
    assert run.returncode == code, run.stderr[-3000:]
    return run.stdout
