"""A tiny training that accidents end: killed at any write of a checkpoint, or between two steps of two processes."""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tiny import make_config, make_rows, make_tokenizer
from transformers import TrainerCallback

from tbps import TBPSImageProcessor, TBPSModel, TBPSProcessor, TBPSTrainer, TBPSTrainingArguments
from tbps.training.checkpoints import CheckpointError, last_complete_checkpoint

STEPS = 9  # three an epoch


class Killed(TrainerCallback):
    """Dies before a step, in one of the processes."""

    def __init__(self, before: int, rank: int = 0) -> None:
        self.before, self.rank = before, rank

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.before and args.process_index == self.rank:
            os.kill(os.getpid(), signal.SIGKILL)


def make_trainer(output: Path, images: Path, **fields: Any) -> TBPSTrainer:
    """24 pairs in batches of 8, a checkpoint every second step; dropout and augmentation draw random numbers."""
    torch.manual_seed(0)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    settings = {
        "num_train_epochs": 3, "per_device_train_batch_size": 8 // world, "learning_rate": 1e-3, "use_cpu": True,
        "disable_tqdm": True, "save_strategy": "steps", "save_steps": 2, "dataloader_pin_memory": False, "seed": 3,
    }  # fmt: skip
    callbacks = fields.pop("callbacks", [])
    return TBPSTrainer(
        TBPSModel(make_config(num_identities=6, tower_dropout=0.2)),
        TBPSTrainingArguments(output_dir=str(output), **{**settings, **fields}),
        train_dataset=make_rows(images, people=6),
        processing_class=TBPSProcessor(TBPSImageProcessor(size={"height": 32, "width": 16}), make_tokenizer()),
        callbacks=callbacks,
    )


def killed_at(call: Callable[..., Any], turn: int) -> Callable[..., Any]:
    """`call`, which kills this process on its given turn, counted from 0, after leaving half of a file."""
    count = -1

    def wrapped(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == turn:
            if call is torch_save:
                Path(arguments[1]).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)

    return wrapped


torch_save = torch.save
SAVES = 4  # of torch a checkpoint: arguments, optimizer, scheduler, random state


def kill_while_saving(folder: Path) -> None:
    """Killed in each file of the training state, before the second checkpoint is marked complete, and between steps."""
    points = [("save", SAVES + turn) for turn in range(1, SAVES)] + [("replace", 1), ("step", 5)]
    for kind, turn in points:
        child = os.fork()
        if not child:
            trainer = make_trainer(folder / f"{kind}{turn}", folder / "images")
            if kind == "save":
                torch.save = killed_at(torch.save, turn)
            elif kind == "replace":
                os.replace = killed_at(os.replace, turn)
            else:
                trainer.add_callback(Killed(turn))
            trainer.train()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(f"{kind}{turn}", os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)


def disk_is_full(folder: Path) -> None:
    """The second checkpoint does not fit: files may have no more bytes than the first one's, less one."""
    trainer = make_trainer(folder / "full", folder / "images", save_total_limit=1)

    class Full(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                size = (folder / "full" / "checkpoint-2" / "optimizer.pt").stat().st_size
                resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, resource.RLIM_INFINITY))

    trainer.add_callback(Full())
    try:
        trainer.train()
    except CheckpointError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(error)


def two_processes(folder: Path, images: Path) -> None:
    """Goes on where the killed run of two processes left off; then the run without an accident."""
    resumed_from = last_complete_checkpoint(folder / "cut")
    resumed = make_trainer(folder / "cut", images)
    resumed.train(resume_from_checkpoint=True)
    whole = make_trainer(folder / "whole", images)
    whole.train()
    expected = whole.model.state_dict()
    equal = all(torch.equal(value, expected[name]) for name, value in resumed.model.state_dict().items())
    found = {"world": dist.get_world_size(), "equal": equal, "from": resumed_from, "steps": resumed.state.global_step}
    (folder / f"found{dist.get_rank()}.json").write_text(json.dumps(found))


def main(mode: str, folder: Path) -> None:
    torch.set_num_threads(1)
    images = folder / f"images{os.environ.get('RANK', '')}"
    if mode == "kill_while_saving":
        kill_while_saving(folder)
    elif mode == "disk_is_full":
        disk_is_full(folder)
    elif mode == "kill_one_of_two":
        make_trainer(folder / "cut", images, callbacks=[Killed(before=5, rank=1)]).train()
    else:
        two_processes(folder, images)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
