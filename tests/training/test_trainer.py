"""Training: plain Trainer and TBPSTrainer, gradient accumulation, selection on val, resume and precision."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from tiny import make_rows
from training_arguments import StopAfterEpoch, arguments
from transformers import Trainer, TrainingArguments
from transformers.utils import logging

from tbps import TBPSModel, TBPSProcessor, TBPSTrainer
from tbps.data.pairs import PairCollator, PersonPairs

Factory = Callable[..., TBPSModel]


def test_it_is_one_class_that_overrides_two_private_methods_of_trainer() -> None:
    assert TBPSTrainer.__bases__ == (Trainer,)
    private = {name for name in vars(TBPSTrainer) if name.startswith("_") and not name.startswith("__")}
    assert {name for name in private if hasattr(Trainer, name)} == {"_get_train_sampler", "_save_checkpoint"}


def test_plain_trainer_trains_and_evaluates(
    tmp_path: Path, model_factory: Factory, rows: datasets.Dataset, tiny_processor: TBPSProcessor
) -> None:
    pairs = PersonPairs(rows, tiny_processor)
    plain = TrainingArguments(
        str(tmp_path), num_train_epochs=10, per_device_train_batch_size=8, per_device_eval_batch_size=8, use_cpu=True,
        remove_unused_columns=False, learning_rate=3e-3, disable_tqdm=True, logging_steps=1, save_strategy="no",
        dataloader_pin_memory=False, report_to="none",
    )  # fmt: skip
    trainer = Trainer(
        model_factory(num_identities=6, global_loss="itc"), plain, data_collator=PairCollator(tiny_processor),
        train_dataset=pairs, eval_dataset=pairs,
    )  # fmt: skip
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 30
    assert all(math.isfinite(loss) for loss in losses)
    assert trainer.evaluate()["eval_loss"] < before


def test_accumulation_does_not_change_the_loss_scale(
    tmp_path: Path, model_factory: Factory, rows: datasets.Dataset, tiny_processor: TBPSProcessor
) -> None:
    """With accumulation 4, a batch given four times has the gradient of the batch."""
    norms = []
    for accumulation in (1, 4):
        trainer = TBPSTrainer(
            model_factory(num_identities=6),
            arguments(tmp_path / str(accumulation), gradient_accumulation_steps=accumulation, max_steps=1,
                      per_device_train_batch_size=24, save_strategy="no", augment=False, max_grad_norm=1e9),
            train_dataset=rows,
            processing_class=tiny_processor,
        )  # fmt: skip
        batch = PairCollator(tiny_processor)([trainer.train_dataset[i] for i in range(24)])
        trainer.get_train_dataloader = lambda batch=batch: [batch] * 4  # type: ignore[method-assign]
        trainer.train()
        norms.append(next(entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry))
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_our_trainer_learns_and_selects_on_val(
    tmp_path: Path, model_factory: Factory, tiny_processor: TBPSProcessor
) -> None:
    train, val = make_rows(tmp_path / "train", 12), make_rows(tmp_path / "val", 8, first_id=100)
    trainer = TBPSTrainer(
        model_factory(num_identities=12, pooling="mean", global_loss="itc"),
        arguments(tmp_path / "run", num_train_epochs=12, per_device_train_batch_size=12, learning_rate=5e-3,
                  eval_strategy="epoch", load_best_model_at_end=True, save_total_limit=1, augment=False,
                  cache_images=True),
        train_dataset=train, eval_dataset=val, processing_class=tiny_processor,
    )  # fmt: skip
    untrained = trainer.evaluate()
    trainer.train()
    history = trainer.state.log_history
    evaluations = [entry["eval_mAP"] for entry in history if "eval_mAP" in entry]
    assert len(evaluations) == 12
    scores = [entry["eval_rank_1"] for entry in history if "eval_rank_1" in entry]
    assert trainer.state.best_metric == max(scores)
    final = trainer.evaluate()
    assert final["eval_rank_1"] == max(scores)  # the best weights are back
    assert final["eval_mAP"] > untrained["eval_mAP"] + 0.1
    training = [entry for entry in history if "loss" in entry]
    assert {"loss_global", "loss_id", "loss_cmr"} <= training[0].keys()
    assert training[-1]["loss_global"] < training[0]["loss_global"]


def test_resume_gives_the_weights_of_an_uninterrupted_run(
    tmp_path: Path, model_factory: Factory, rows: datasets.Dataset, tiny_processor: TBPSProcessor
) -> None:
    def trainer(folder: str, **kwargs: Any) -> TBPSTrainer:
        # dropout draws from torch's generator, augmentation from (seed, epoch, index): both must come back right
        model = model_factory(num_identities=6, tower_dropout=0.2)
        model.from_checkpoint = frozenset(name for name, _ in model.named_parameters() if name.startswith("text_model"))
        args = arguments(tmp_path / folder, num_train_epochs=4, new_module_lr_multiplier=3.0)
        return TBPSTrainer(model, args, train_dataset=rows, processing_class=tiny_processor, **kwargs)

    whole = trainer("whole")
    whole.train()
    interrupted = trainer("cut", callbacks=[StopAfterEpoch])
    interrupted.train()
    assert interrupted.state.global_step == 6
    resumed = trainer("cut")
    resumed.train(resume_from_checkpoint=str(tmp_path / "cut" / "checkpoint-6"))
    assert resumed.state.global_step == whole.state.global_step == 12
    expected = whole.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.model.state_dict().items())
    assert not torch.equal(interrupted.model.part_decoder.queries, whole.model.part_decoder.queries)


def test_bad_settings_are_named(
    tmp_path: Path, model_factory: Factory, rows: datasets.Dataset, tiny_processor: TBPSProcessor
) -> None:
    with pytest.raises(ValueError, match="num_identities=4, but the training split has 6 people"):
        TBPSTrainer(model_factory(num_identities=4), arguments(tmp_path), rows, processing_class=tiny_processor)
    with pytest.raises(ValueError, match="needs processing_class"):
        TBPSTrainer(model_factory(), arguments(tmp_path), rows)
    trainer = TBPSTrainer(model_factory(), arguments(tmp_path), rows, processing_class=tiny_processor)
    with pytest.raises(ValueError, match="no eval_dataset"):
        trainer.evaluate()


def test_the_shared_model_has_no_identity_head(tmp_path: Path, model_factory: Factory) -> None:
    model = model_factory(num_identities=6)
    model.save_pretrained(tmp_path / "training")
    model.drop_id_head()
    model.save_pretrained(tmp_path / "shared")
    assert json.loads((tmp_path / "shared" / "config.json").read_text())["num_identities"] == 0
    assert TBPSModel.from_pretrained(tmp_path / "shared").id_head is None
    assert TBPSModel.from_pretrained(tmp_path / "training").id_head.out_features == 6


def test_processes_that_would_train_alone_are_refused(
    tmp_path: Path, model_factory: Factory, tiny_processor: TBPSProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state after `accelerate launch` for GPUs on a machine without one."""
    args = arguments(tmp_path)
    assert args.world_size == 1
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(RuntimeError, match=r"4 processes were started .*Add `--use_cpu true --bf16 false`"):
        TBPSTrainer(model_factory(), args, processing_class=tiny_processor)


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32])
def test_any_training_of_half_precision_weights_says_so(
    stored: torch.dtype, model_factory: Factory, batch: Any, propagate: None, caplog: pytest.LogCaptureFixture
) -> None:
    logging.get_logger("tbps").warning_once.cache_clear()  # once in a process, which other tests share
    model = model_factory().to(stored)
    inputs = {**batch, "pixel_values": batch["pixel_values"].to(stored), "person_ids": torch.arange(4)}
    model(**inputs)
    assert not caplog.text  # to measure is not to train
    for _ in range(2):
        model.train()(**inputs).loss.backward()
    assert caplog.text.count("Weights of bfloat16 are trained") == (stored == torch.bfloat16)
    caplog.clear()
    model.requires_grad_(False)  # as under adapters
    model(**inputs)
    assert not caplog.text


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision_are_trained_in_float32_and_all_move(
    stored: torch.dtype, tmp_path: Path, model_factory: Factory, rows: datasets.Dataset, tiny_processor: TBPSProcessor,
    propagate: None, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    model_factory(num_identities=6).to(stored).save_pretrained(tmp_path / "stored")
    moved = {}
    for keep in (False, True):
        caplog.clear()
        model = TBPSModel.from_pretrained(tmp_path / "stored")
        before = {name: value.detach().float().clone() for name, value in model.named_parameters()}
        args = arguments(tmp_path / "run", max_steps=1, learning_rate=1e-5, save_strategy="no", augment=False,
                         half_precision_weights=keep, max_grad_norm=0.0)  # fmt: skip
        TBPSTrainer(model, args, train_dataset=rows, processing_class=tiny_processor).train()
        assert {parameter.dtype for parameter in model.parameters()} == {stored if keep else torch.float32}
        assert caplog.text.count("are trained in float32") == (0 if keep else 1)
        after = dict(model.named_parameters())
        name = "visual_projection.weight"
        moved[keep] = (after[name].float() != before[name]).float().mean().item()
    assert moved[False] > 0.99
    assert moved[True] < 0.7
