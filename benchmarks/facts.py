"""What every result file states: command, versions, machine. Also the memory of a process."""

import json
import platform
import resource
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

MEBIBYTE = 2**20
RESULTS = Path("benchmarks/results")


def facts() -> dict[str, Any]:
    """Describe the command, the versions and the machine."""
    cuda = torch.cuda.is_available()
    return {
        "command": "python " + " ".join(sys.argv),
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "transformers": transformers.__version__},
        "machine": torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads",
    }  # fmt: skip


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def write_result(name: str, found: dict[str, Any]) -> None:
    """Write a result file with its facts, and print it."""
    text = json.dumps({**facts(), **found}, indent=1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / name).write_text(text + "\n", encoding="utf-8")
    print(text)
