"""Settings of a run for its model card. They are listed by name, so that no token and no local path gets into it."""

from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tbps.files_tbps import VERSION
from tbps.training.arguments import TBPSTrainingArguments
from tbps.training.recipe import ModelArguments

CARD_ARGUMENTS = (
    "seed",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "world_size",
    "learning_rate",
    "new_module_lr_multiplier",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "optim",
    "bf16",
    "fp16",
    "samples_per_identity",
    "augment",
    "random_erasing",
    "word_dropout",
    "augmentation_warmup_epochs",
    "part_loss_warmup_ratio",
    "noisy_pairs",
    "noisy_pairs_warmup",
    "metric_for_best_model",
)


def training_facts(arguments: TBPSTrainingArguments) -> dict[str, Any]:
    """The arguments of a training and the versions of its libraries."""
    values = {name: getattr(arguments, name) for name in CARD_ARGUMENTS}
    return {
        "training_arguments": {name: v.value if isinstance(v, Enum) else v for name, v in values.items()},
        "versions": {"tbps": VERSION, **{name: version(name) for name in ("transformers", "torch")}},
    }


def start_facts(arguments: ModelArguments) -> dict[str, Any]:
    """Where the weights started from: random weights, a model on the Hub, or neither if it was a local folder."""
    source = arguments.model_name_or_path or arguments.clip_checkpoint
    on_hub = source is not None and not Path(source).exists()
    return {"from_scratch": source is None, "base_model": source if on_hub else None}
