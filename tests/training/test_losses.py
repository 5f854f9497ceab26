"""A training whose loss is not finite stops within two steps with a clear error, and saves no broken weights."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from training_arguments import arguments
from transformers import TrainerCallback

from tbps import TBPSModel, TBPSProcessor, TBPSTrainer
from tbps.training.checkpoints import last_complete_checkpoint
from tbps.training.losses import DivergedError

Factory = Callable[..., TBPSModel]
BREAK_AT = 2  # step, from 1


class Break(TrainerCallback):
    """Makes one weight, or only its gradient, not finite before or after a step."""

    def __init__(self, what: str, value: float) -> None:
        self.what, self.value = what, value

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step + 1 == BREAK_AT and self.what != "gradient":
            with torch.no_grad():
                kwargs["model"].get_parameter(self.what).view(-1)[0] = self.value

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step + 1 == BREAK_AT and self.what == "gradient":
            kwargs["model"].get_parameter("part_decoder.queries").grad.view(-1)[0] = self.value


WEIGHTS = ["part_decoder.queries", "text_projection.weight", "vision_model.embeddings.class_embedding", "id_head.bias"]


@pytest.mark.parametrize("what", [*WEIGHTS, "gradient"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_training_by_name(
    what: str, value: float, tmp_path: Path, model_factory: Factory, rows: datasets.Dataset,
    tiny_processor: TBPSProcessor,
) -> None:  # fmt: skip
    trainer = TBPSTrainer(
        model_factory(num_identities=6), arguments(tmp_path, save_strategy="no", gradient_accumulation_steps=1),
        train_dataset=rows, processing_class=tiny_processor, callbacks=[Break(what, value)],
    )  # fmt: skip
    at = BREAK_AT + (what == "gradient")
    with pytest.raises(DivergedError, match=rf"loss of step {at} is (nan|inf) .*Lower learning_rate") as error:
        trainer.train()
    terms = {"id_head.bias": ["id"], "text_projection.weight": ["global", "id", "cmr"]}.get(what, ["cmr"])
    assert all(f"{term}=" in str(error.value).split("(")[1].split(")")[0] for term in terms)
    assert ".png (row " in str(error.value)
    assert all(math.isfinite(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)


def test_weights_that_are_not_finite_make_no_checkpoint(
    tmp_path: Path, model_factory: Factory, rows: datasets.Dataset, tiny_processor: TBPSProcessor
) -> None:
    trainer = TBPSTrainer(
        model_factory(), arguments(tmp_path, save_strategy="steps", save_steps=1), train_dataset=rows,
        processing_class=tiny_processor, callbacks=[Break("gradient", math.nan)],
    )  # fmt: skip
    with pytest.raises(ValueError, match=rf"model after step {BREAK_AT} has NaN .*Use an earlier checkpoint"):
        trainer.train()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1")
