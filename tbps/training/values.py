"""Checks of recipe values: types and ranges."""

import math
from collections.abc import Mapping
from types import NoneType
from typing import Any, get_args, get_origin

# lowest and highest allowed value
LIMITS: Mapping[str, tuple[float, float]] = {
    "learning_rate": (0, math.inf),
    "weight_decay": (0, math.inf),
    "max_grad_norm": (0, math.inf),
    "warmup_steps": (0, math.inf),
    "adam_beta1": (0, 1),
    "adam_beta2": (0, 1),
    "adam_epsilon": (0, math.inf),
    "per_device_train_batch_size": (1, math.inf),
    "per_device_eval_batch_size": (1, math.inf),
    "gradient_accumulation_steps": (1, math.inf),
    "dataloader_num_workers": (0, math.inf),
    "save_total_limit": (1, math.inf),
    "seed": (0, 2**32 - 1),
    "samples_per_identity": (1, math.inf),
    "new_module_lr_multiplier": (0, math.inf),
    "embed_chunk_size": (1, math.inf),
    "random_erasing": (0, 1),
    "word_dropout": (0, 1),
    "color_jitter": (0, 1),
    "length_group_window": (0, math.inf),
    "shuffle_buffer": (1, math.inf),
    "augmentation_warmup_epochs": (0, math.inf),
    "part_loss_warmup_ratio": (0, 1),
    "noisy_pairs_warmup": (0, math.inf),
    "tokenizer_vocab_size": (4, math.inf),
    "text_length": (3, math.inf),
    "held_out_share": (0, 1),
}
POSITIVE = ("num_train_epochs", "logging_steps", "eval_steps", "save_steps")  # finite and above 0


def check_limits(values: Mapping[str, Any]) -> None:
    """Check that numbers are in their ranges.

    Raises:
        ValueError: names the key, its value and the range.
    """
    for name, (low, high) in LIMITS.items():
        value = values.get(name)
        if value is not None and not (low <= value <= high and math.isfinite(value)):
            raise ValueError(f"{name}={value}: expected a finite number from {low} to {high}.")
    for name in POSITIVE:
        value = values.get(name)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name}={value}: expected a finite number above 0.")


def has_type(value: Any, hint: Any) -> bool:
    """Whether a YAML value has a type; an int passes for a float, and a string is parsed later."""
    kinds = get_args(hint) if get_origin(hint) not in (list, dict) else ()
    if kinds:
        return any(has_type(value, kind) for kind in kinds)
    origin = get_origin(hint) or hint
    if origin is Any:
        return True
    if isinstance(value, bool):
        return origin is bool
    if isinstance(value, int | float):
        return origin is float or (isinstance(value, int) and origin is int)
    if isinstance(value, list):
        of = get_args(hint) or (Any,)
        return origin is list and bool(value) and all(has_type(item, of[0]) for item in value)
    if isinstance(value, dict):
        return origin is dict
    return origin is NoneType if value is None else isinstance(value, str) and origin is not dict


def type_name(hint: Any) -> str:
    """The name of a type in a message."""
    names = [getattr(kind, "__name__", str(kind)) for kind in get_args(hint) or (hint,) if kind is not NoneType]
    return " or ".join(dict.fromkeys("text" if name == "str" else name for name in names))
