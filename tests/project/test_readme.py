"""The README's Python blocks run as they stand, on a tiny checkpoint in the place of the demo's."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT
from tiny import make_rows

from tbps import TBPSModel, TBPSProcessor

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_there_are_blocks() -> None:
    assert len(BLOCKS) == 3
    search = [line for line in BLOCKS[0].splitlines() if line]
    assert len(search) <= 12


@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs_in_a_fresh_process(
    block: str, tmp_path: Path, tiny_model: TBPSModel, tiny_processor: TBPSProcessor
) -> None:
    tiny_model.save_pretrained(tmp_path / "runs/demo/model")
    tiny_processor.save_pretrained(tmp_path / "runs/demo/model")
    images = tmp_path / "runs/demo/data/ToyPEDES/imgs/cam_a"
    make_rows(images, people=3)
    run = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    if "gallery.search" in block:
        assert run.stdout.count("cam_a") == 5


def test_every_recipe_and_command_named_is_there() -> None:
    root = ROOT
    for recipe in re.findall(r"recipes/\w+\.yaml", README):
        assert (root / recipe).is_file(), recipe
    for link in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (root / link).exists(), link
