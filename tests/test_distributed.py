"""Two processes on gloo: the gradient of the gathered loss equals that of one process with the whole batch."""

import json
import subprocess
import sys
from pathlib import Path


def test_gradient_of_two_processes_equals_one(tmp_path: Path) -> None:
    script = Path(__file__).with_name("distributed_gradient.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    run = subprocess.run(
        [*command, str(tmp_path / "result.json")], cwd=script.parent, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["world"] == 2
    assert result["same"]
    assert result["largest"] > 1e-2
    assert result["worst"] < 1e-5 * result["largest"]
