"""Arguments, callbacks and losses for short training runs on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from tbps import TBPSTrainingArguments


def arguments(folder: Path, **changes: Any) -> TBPSTrainingArguments:
    """Two epochs in batches of 8, saved after each epoch; `changes` replaces single fields."""
    fields = {
        "output_dir": str(folder), "num_train_epochs": 2, "per_device_train_batch_size": 8, "learning_rate": 1e-3,
        "use_cpu": True, "disable_tqdm": True, "logging_steps": 1, "save_strategy": "epoch", "report_to": "none",
        "dataloader_pin_memory": False, "seed": 3,
    }  # fmt: skip
    return TBPSTrainingArguments(**{**fields, **changes})


class StopAfterEpoch(TrainerCallback):
    """Stop the run after its second epoch, as an interruption would."""

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.epoch >= 2


def two_populations(low: int, high: int, seed: int = 0) -> np.ndarray:
    """Losses of `low` matched and `high` mismatched pairs."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(1, 0.4, low), rng.normal(5, 1.0, high)])
