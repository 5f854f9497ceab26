"""A tiny training on a corpus; run under torchrun by test_streaming.py, in two processes."""

import json
import os
import sys
from hashlib import sha256
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from resume_run import Killed
from tiny import make_config, make_tokenizer

from tbps import TBPSImageProcessor, TBPSModel, TBPSProcessor, TBPSTrainer, TBPSTrainingArguments
from tbps.data.corpora.corpus import Corpus
from tbps.training.checkpoints import last_complete_checkpoint

STEPS = 10


def make_processor() -> TBPSProcessor:
    return TBPSProcessor(TBPSImageProcessor(size={"height": 32, "width": 16}), make_tokenizer())


def make_trainer(output: Path, corpus: Path, **fields: Any) -> TBPSTrainer:
    """Ten steps of 8 pairs, with a checkpoint every third; dropout and augmentation draw random numbers."""
    torch.manual_seed(0)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    settings = {
        "max_steps": STEPS, "per_device_train_batch_size": 8 // world, "learning_rate": 1e-3, "use_cpu": True,
        "disable_tqdm": True, "save_strategy": "steps", "save_steps": 3, "dataloader_pin_memory": False, "seed": 3,
        "shuffle_buffer": 16, "word_dropout": 0.1, "logging_steps": 1,
    }  # fmt: skip
    callbacks = fields.pop("callbacks", [])
    return TBPSTrainer(
        TBPSModel(make_config(tower_dropout=0.2)),
        TBPSTrainingArguments(output_dir=str(output), **{**settings, **fields}),
        train_dataset=Corpus(corpus),
        processing_class=make_processor(),
        callbacks=callbacks,
    )


def equal_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    expected = other.state_dict()
    return all(torch.equal(value, expected[name]) for name, value in one.state_dict().items())


def main(mode: str, folder: Path, corpus: Path) -> None:
    """Mode "cut" is killed before the eighth step; "resume" resumes it, and then trains without interruption."""
    torch.set_num_threads(1)
    if mode == "cut":
        make_trainer(folder / "cut", corpus, callbacks=[Killed(before=7, rank=1)]).train()
        return
    resumed_from = last_complete_checkpoint(folder / "cut")
    resumed = make_trainer(folder / "cut", corpus)
    resumed.train(resume_from_checkpoint=True)
    whole = make_trainer(folder / "whole", corpus)
    whole.train()
    whole.train_dataset.augmentation = None
    whole.train_dataset.resume({}, 0)
    epoch = takewhile(lambda item: item["position"][1].epoch == 0, whole.train_dataset)
    found = {
        "seen": [sha256(item["pixel_values"]).hexdigest() for item in epoch],
        "sizes": [len(batch["input_ids"]) for batch in islice(whole.get_train_dataloader(), 20)],
        "world": dist.get_world_size(),
        "from": resumed_from,
        "equal": equal_weights(resumed.model, whole.model),
        "losses": [entry["loss"] for entry in whole.state.log_history if "loss" in entry],
    }
    (folder / f"found{dist.get_rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
