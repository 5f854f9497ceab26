"""Precision and engines: every accelerate config loads and names existing files, FSDP and bfloat16 train."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType
from repository import ROOT, torchrun
from training_arguments import arguments

from tbps import TBPSModel, TBPSProcessor, TBPSTrainer
from tbps.training.recipe import parse_recipe
from tbps.training.sharded import gather_full_model, scale_to_buffer

CONFIGS = sorted((ROOT / "recipes" / "accelerate").glob("*.yaml"))
LINE = re.compile(r"^(?:# )?\.venv/bin/accelerate launch .*$", re.MULTILINE)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_what_its_launch_line_says(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    first = path.read_text().splitlines()[0]
    words = shlex.split(first.removeprefix("# .venv/bin/accelerate launch "))
    args, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    assert args.config_file == f"recipes/accelerate/{path.name}"
    assert args.mixed_precision == defaults.mixed_precision == ("fp16" if "fp16" in path.stem else "bf16")
    assert args.use_fsdp == ("fsdp" in path.stem)
    assert args.use_deepspeed == ("deepspeed" in path.stem)
    assert args.num_machines == (2 if path.stem == "multi_node" else 1)
    assert args.training_script == "train_hf.py"
    cpu = ["--use_cpu", "true", "--bf16", "false", "--fp16", "false", "--output_dir", str(tmp_path)]
    recipe = parse_recipe([*args.training_script_args, *cpu])  # later options win
    assert recipe.data.root == "DATA"
    assert "Not run" in path.read_text().replace("**", "")


def test_half_precision_is_asked_of_the_program_too() -> None:
    """A recipe's `bf16: true` overrides accelerate's config, so the command for float16 must undo it."""
    line = (ROOT / "recipes/accelerate/one_gpu_fp16.yaml").read_text().splitlines()[0]
    assert line.endswith("--bf16 false --fp16 true")
    assert (
        load_config_from_file(str(ROOT / "recipes/accelerate/ddp.yaml")).distributed_type == DistributedType.MULTI_GPU
    )


def test_the_page_launches_with_files_that_exist() -> None:
    page = (ROOT / "docs" / "training.md").read_text()
    lines = LINE.findall(page)
    named = {Path(word).name for line in lines for word in line.split() if "recipes/accelerate/" in word}
    assert named == {path.name for path in CONFIGS}
    for line in lines:
        files = [word for word in line.split() if word.endswith((".yaml", ".py"))]
        assert all((ROOT / file).is_file() for file in files), line


def test_sharded_training_equals_that_of_one_process(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    torchrun("distributed_fsdp.py", ROOT / "recipes" / "accelerate" / "fsdp2.yaml", result)
    found = json.loads(result.read_text())
    assert found["is_sharded"]
    assert {"FSDPCLIPEncoderLayer", "FSDPPartDecoder", "FSDPTBPSModel"} <= set(found["sharded"])
    assert found["losses"] == pytest.approx(found["expected"], rel=1e-5)
    assert found["moved"] > 1e-4
    assert found["worst"] < 1e-3 * found["moved"]
    assert found["features"] < 1e-5
    assert found["noted"] < 1e-3
    assert found["same_names"]
    assert found["same_groups"]  # of learning rates


def test_the_scale_is_a_buffer_of_the_same_name(model_factory: Callable[..., TBPSModel]) -> None:
    model, plain = model_factory(), model_factory()
    scale_to_buffer(model)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert all(parameter.ndim for parameter in model.parameters())  # FSDP refuses parameters of one number
    assert gather_full_model(plain) is plain


@pytest.mark.parametrize("vision", ["clip_vision_model", "siglip_vision_model"])
def test_indivisible_modules_are_those_that_the_model_has(model_factory: Callable[..., TBPSModel], vision: str) -> None:
    tower = {"model_type": vision, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
             "num_attention_heads": 4, "image_size": [32, 16], "patch_size": 8}  # fmt: skip
    model = model_factory(vision_config=tower)
    present = {type(module).__name__ for module in model.modules()}
    assert set(model._no_split_modules) <= present
    own = "RectangularVisionEmbeddings" if "clip" in vision else "RectangularSiglipEmbeddings"
    assert {own, "PartDecoder", "CLIPEncoderLayer"} <= set(model._no_split_modules)


def test_bfloat16_trains_with_losses_in_float32(
    tmp_path: Path,
    model_factory: Callable[..., TBPSModel],
    rows: datasets.Dataset,
    tiny_processor: TBPSProcessor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    computed = TBPSModel.compute_losses

    def spy(self: TBPSModel, output: Any, *given: Any) -> dict[str, torch.Tensor]:
        assert output.text_part_embeds.dtype == torch.bfloat16  # the towers do compute in half precision
        seen.append(computed(self, output, *given))
        with torch.autocast("cpu", enabled=False):
            plain = computed(self, output, *given)
        assert all(torch.equal(term, plain[name]) for name, term in seen[-1].items())
        return seen[-1]

    monkeypatch.setattr(TBPSModel, "compute_losses", spy)
    model = model_factory(num_identities=6, text_part_weights=True, part_attention="both")
    before = model.part_decoder.queries.detach().clone()
    args = arguments(tmp_path, bf16=True, noisy_pairs="weight", save_strategy="no")
    TBPSTrainer(model, args, rows, processing_class=tiny_processor).train()
    assert len(seen) == 6
    for losses in seen:
        assert losses.keys() == {"global", "id", "cmr", "part_matching", "part_independence"}
        assert all(term.dtype == torch.float32 and term.isfinite() for term in losses.values())
    assert not torch.equal(model.part_decoder.queries, before)
