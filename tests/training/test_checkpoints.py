"""A resumed training ends with the weights of an uninterrupted one, to the last bit."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from repository import ROOT, torchrun
from resume_run import STEPS, make_trainer

from tbps.training.checkpoints import CheckpointError, last_complete_checkpoint

no_fork = pytest.mark.skipif(sys.platform == "win32", reason="needs fork, SIGKILL and resource limits")


def run(mode: str, folder: Path) -> str:
    script = ROOT / "tests" / "support" / "resume_run.py"
    command = [sys.executable, str(script), mode, str(folder)]
    return subprocess.run(command, cwd=script.parent, capture_output=True, text=True, check=True).stdout


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    expected = other.state_dict()
    return all(torch.equal(value, expected[name]) for name, value in one.state_dict().items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An uninterrupted run with all of its checkpoints."""
    folder = tmp_path_factory.mktemp("whole")
    trainer = make_trainer(folder / "run", folder / "images")
    trainer.train()
    return trainer


@pytest.mark.parametrize("settings", [{}, {"dataloader_num_workers": 1}])
@pytest.mark.parametrize("step", [4, 6, 8])  # within an epoch, at its end, after one step of the last
def test_resume_anywhere(tmp_path: Path, whole: Any, step: int, settings: dict[str, Any]) -> None:
    trainer = make_trainer(tmp_path / "run", tmp_path / "images", save_strategy="no", **settings)
    trainer.train(resume_from_checkpoint=str(Path(whole.args.output_dir) / f"checkpoint-{step}"))
    assert trainer.state.global_step == STEPS
    assert same_weights(trainer.model, whole.model)


def test_resume_with_accumulation(tmp_path: Path) -> None:
    settings = {"gradient_accumulation_steps": 2, "save_steps": 1}  # two optimizer steps an epoch, one of one batch
    trainers = [make_trainer(tmp_path / name, tmp_path / "images", **settings) for name in ("whole", "cut")]
    trainers[0].train()
    trainers[1].train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert same_weights(trainers[1].model, trainers[0].model)


@no_fork
def test_killed_while_saving(tmp_path: Path, whole: Any) -> None:
    killed = [
        line.split() for line in run("kill_while_saving", tmp_path).splitlines() if line.endswith(("True", "False"))
    ]
    assert len(killed) == 5
    for name, died in killed:
        assert died == "True", name
        last = last_complete_checkpoint(tmp_path / name)
        assert last == str(tmp_path / name / ("checkpoint-4" if name == "step5" else "checkpoint-2"))
        trainer = make_trainer(tmp_path / name, tmp_path / "images")
        trainer.train(resume_from_checkpoint=True)
        assert same_weights(trainer.model, whole.model), name


@no_fork
def test_a_full_disk_keeps_the_older_checkpoint(tmp_path: Path, whole: Any) -> None:
    said = run("disk_is_full", tmp_path)
    assert f"{tmp_path / 'full' / 'checkpoint-4'} could not be written" in said
    assert "MiB free" in said
    assert f"latest complete checkpoint is {tmp_path / 'full' / 'checkpoint-2'}." in said
    assert not (tmp_path / "full" / "checkpoint-4").exists()  # its space is given back
    trainer = make_trainer(tmp_path / "full", tmp_path / "images", save_total_limit=1)
    trainer.train(resume_from_checkpoint=True)
    assert same_weights(trainer.model, whole.model)
    assert [path.name for path in (tmp_path / "full").glob("checkpoint-*")] == [f"checkpoint-{STEPS}"]


def test_two_processes_one_of_them_killed(tmp_path: Path) -> None:
    torchrun("resume_run.py", "kill_one_of_two", tmp_path, code=1)
    torchrun("resume_run.py", "resume", tmp_path)
    for rank in range(2):
        found = json.loads((tmp_path / f"found{rank}.json").read_text())
        assert found == {"world": 2, "equal": True, "from": str(tmp_path / "cut" / "checkpoint-4"), "steps": STEPS}


def test_what_is_not_whole_is_named(tmp_path: Path, whole: Any, caplog: Any, propagate: None) -> None:
    run_folder = tmp_path / "run"
    shutil.copytree(whole.args.output_dir, run_folder)
    shutil.rmtree(run_folder / f"checkpoint-{STEPS}")
    (run_folder / "checkpoint-8" / "whole.json").unlink()
    (run_folder / "checkpoint-6" / "optimizer.pt").write_bytes(b"short")
    assert last_complete_checkpoint(run_folder) == str(run_folder / "checkpoint-4")
    assert "checkpoint-8 is left out: it has no whole.json" in caplog.text
    assert "checkpoint-6 is left out: optimizer.pt has 5 bytes instead of" in caplog.text
    trainer = make_trainer(run_folder, tmp_path / "images")
    message = r"checkpoint-6 is not a complete checkpoint: optimizer.pt .*checkpoint-4\."
    with pytest.raises(CheckpointError, match=message):
        trainer.train(resume_from_checkpoint=str(run_folder / "checkpoint-6"))
    (run_folder / "checkpoint-4" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"there is no such folder. Resume from .*checkpoint-2"):
        trainer.train(resume_from_checkpoint=str(run_folder / "checkpoint-5"))
    shutil.rmtree(run_folder / "checkpoint-2")
    with pytest.raises(CheckpointError, match="No complete checkpoint"):
        trainer.train(resume_from_checkpoint=True)
