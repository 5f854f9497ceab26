"""Learning-rate groups follow the parameters of the checkpoint, with any model and wrapper."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from tower_checkpoints import adapted
from training_arguments import arguments

from tbps import TBPSModel, TBPSProcessor, TBPSTrainer
from tbps.training.checkpoints import CheckpointError
from tbps.training.learning_rates import GROUPS, new_parameters

Factory = Callable[..., TBPSModel]
PARTS = {"part_image_layer": 1, "part_image_key_layer": 1, "part_text_key_layer": 1, "text_part_weights": True}


def weights_of(model: TBPSModel) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def drawn(build: Callable[[], TBPSModel]) -> set[str]:
    """Parameters that depend on the random state, found by building twice; constants (norms, biases) do not."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(weights_of(build()))
    return {name for name, value in found[0].items() if not torch.equal(value, found[1][name])}


@pytest.mark.parametrize("kind", ["clip", "two towers", "tbps", "tbps with more people"])
def test_what_is_new_is_what_the_random_state_decides(kind: str, sources: Path, tmp_path: Path) -> None:
    special = {"special_token_ids": [0, 1]}
    if kind == "clip":

        def build() -> TBPSModel:
            return adapted(sources / "clip", num_identities=6, **special, **PARTS)
    elif kind == "two towers":

        def build() -> TBPSModel:
            return adapted(sources / "vision", sources / "text", projection_dim=16, num_identities=6, **PARTS)
    else:
        adapted(sources / "clip", num_identities=6, **special, **PARTS).save_pretrained(tmp_path)
        people = 7 if "more" in kind else 6

        def build() -> TBPSModel:
            return TBPSModel.from_pretrained(tmp_path, num_identities=people)

    model = build()
    new = set(new_parameters(model))
    assert drawn(build) <= new
    modules = {name.rsplit(".", 1)[0] for name in drawn(build)}
    assert all(name in new for name in dict(model.named_parameters()) if name.rsplit(".", 1)[0] in modules)
    started = {"clip": "part_visual_projection", "two towers": "text_model.encoder"}.get(kind, "part_decoder")
    assert not any(name.startswith(started) for name in new)
    expected_new = {
        "clip": {"part_visual_key_projection.weight", "part_text_key_projection.weight", "id_head.weight"},
        "two towers": {"visual_projection.weight", "text_projection.weight", "part_visual_projection.weight"},
        "tbps": set(),
        "tbps with more people": {"id_head.weight", "id_head.bias"},
    }[kind]
    assert expected_new <= new
    if kind.startswith("tbps"):
        assert new == expected_new


def test_a_pooler_that_the_checkpoint_lacks_is_new(sources: Path, tmp_path: Path) -> None:
    for file in (sources / "text").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "pooler" not in name}
    assert len(kept) < len(weights)
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = adapted(sources / "vision", tmp_path, projection_dim=16)
    assert {name for name in new_parameters(model) if name.startswith("text_model")} == {
        "text_model.pooler.dense.weight", "text_model.pooler.dense.bias",
    }  # fmt: skip


def test_wrappers_change_no_group(model_factory: Factory) -> None:
    def started(model: TBPSModel) -> TBPSModel:
        model.from_checkpoint = frozenset(name for name, _ in model.named_parameters() if "text_model" in name)
        return model

    expected = new_parameters(started(model_factory()))
    wrapped = started(model_factory())
    wrapped.text_model.encoder.layers[0] = checkpoint_wrapper(wrapped.text_model.encoder.layers[0])
    wrapped.vision_model.encoder = torch.compile(wrapped.vision_model.encoder)
    assert any("_checkpoint_wrapped_module" in name for name, _ in wrapped.named_parameters())
    assert new_parameters(wrapped) == expected
    assert 0 < len(expected) < len(list(wrapped.parameters()))


@pytest.fixture
def trainer(
    tmp_path: Path, sources: Path, rows: datasets.Dataset, tiny_processor: TBPSProcessor
) -> Callable[..., TBPSTrainer]:
    def make(fresh: bool = True, **fields: Any) -> TBPSTrainer:
        model = adapted(sources / "clip", image_size=(32, 16), num_identities=6, special_token_ids=[0, 1])
        if not fresh:  # as a script does that loads the weights of the checkpoint itself
            model.from_checkpoint = frozenset(name for name, _ in model.named_parameters())
        args = arguments(tmp_path / "run", **{"new_module_lr_multiplier": 5.0, "weight_decay": 0.1, **fields})
        return TBPSTrainer(model, args, train_dataset=rows, processing_class=tiny_processor)

    return make


def test_new_modules_learn_faster(trainer: Callable[..., TBPSTrainer]) -> None:
    made = trainer()
    groups = made.create_optimizer().param_groups
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, parameter in made.model.named_parameters():
        if parameter.requires_grad:
            new = name.startswith(("part_decoder.", "part_weighting.", "id_head."))
            assert rate[id(parameter)] == pytest.approx(5e-3 if new else 1e-3), name
            assert decay[id(parameter)] == (0.0 if "norm" in name or name.endswith("bias") else 0.1), name
    assert sum(map(len, (group["params"] for group in groups))) == len(rate)


def test_a_resumed_training_has_the_groups_of_its_checkpoint(trainer: Callable[..., TBPSTrainer]) -> None:
    first = trainer(num_train_epochs=1)
    first.train()
    checkpoint = Path(first.args.output_dir) / "checkpoint-3"
    assert "id_head.weight" in json.loads((checkpoint / GROUPS).read_text())["new"]
    sizes = [len(group["params"]) for group in first.optimizer.param_groups]
    for fresh in (True, False):
        resumed = trainer(fresh, num_train_epochs=2)
        resumed.train(resume_from_checkpoint=str(checkpoint))
        assert [len(group["params"]) for group in resumed.optimizer.param_groups] == sizes
    with pytest.raises(CheckpointError, match=r"new_module_lr_multiplier=5\.0.* this run has 2\.0"):
        trainer(new_module_lr_multiplier=2.0).train(resume_from_checkpoint=str(checkpoint))


def test_a_multiplier_of_nothing_is_refused(
    tmp_path: Path, model_factory: Factory, rows: datasets.Dataset, tiny_processor: TBPSProcessor
) -> None:
    args = arguments(tmp_path, new_module_lr_multiplier=5.0)
    made = TBPSTrainer(model_factory(), args, train_dataset=rows, processing_class=tiny_processor)
    with pytest.raises(
        ValueError, match=r"new_module_lr_multiplier=5\.0, but no parameter .* started from a checkpoint"
    ):
        made.train()
