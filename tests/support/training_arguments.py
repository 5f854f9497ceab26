"""Arguments and callbacks for short training runs on the CPU."""

from pathlib import Path
from typing import Any

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
