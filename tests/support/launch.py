"""Starts a script of this folder in two processes."""

import subprocess
import sys
from pathlib import Path


def torchrun(script: str, *arguments: object, code: int = 0) -> str:
    """Run it under torchrun and return what it printed; fails where the exit status is another one than `code`."""
    path = Path(__file__).with_name(script)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(path)]
    run = subprocess.run([*launch, *map(str, arguments)], cwd=path.parent, capture_output=True, text=True, check=False)
    assert run.returncode == code, run.stderr[-3000:]
    return run.stdout
