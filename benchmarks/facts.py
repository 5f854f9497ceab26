"""What every result file states, and the memory of a process."""

import platform
import resource
import sys
from typing import Any

import torch
import transformers

MEBIBYTE = 2**20


def facts() -> dict[str, Any]:
    """The command, the versions and the machine in words."""
    cuda = torch.cuda.is_available()
    return {
        "command": "python " + " ".join(sys.argv),
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "transformers": transformers.__version__},
        "machine": torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads",
    }  # fmt: skip


def peak_memory() -> int:
    """Peak resident memory of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
