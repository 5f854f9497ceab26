"""Recipes are parsed, overridden and checked, and all shipped recipes are valid."""

from pathlib import Path

import pytest
import torch
from repository import ROOT

from tbps.training.recipe import RecipeError, parse_recipe

CPU = ["--use_cpu", "true", "--bf16", "false"]


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path: Path, tmp_path: Path) -> None:
    recipe = parse_recipe([str(path), *CPU, "--output_dir", str(tmp_path)])
    assert recipe.training.load_best_model_at_end
    assert recipe.training.metric_for_best_model == "rank_1"  # on val: eval_dataset is the val split
    first = path.read_text().splitlines()[0]
    assert first.startswith(f"# .venv/bin/python train_hf.py recipes/{path.name}")


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"output_dir: {tmp_path}\nclip_checkpoint: x\nlearning_rate: 1e-4\nseed: 5\nimage_size: [64, 32]\n")
    recipe = parse_recipe([str(path), "--seed", "7", *CPU])
    assert recipe.training.seed == 7
    assert recipe.training.learning_rate == pytest.approx(1e-4)  # YAML reads 1e-4 as text
    assert recipe.model.image_size == [64, 32]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat: 1\n", "unknown keys: learning_rat. Did you mean learning_rate"),
        ("clean_epochs: 1\n", "keys that were renamed: clean_epochs is now augmentation_warmup_epochs"),
        ("part_loss_delay: 0.5\n", "part_loss_delay is now part_loss_warmup_ratio"),
        ("output_dir: x\nclip_checkpoint: a\nnoisy_pairs: divide\n", "noisy_pairs='divide': .* is now 'filter'"),
        ("output_dir: x\nclip_checkpoint: a\nnoisy_pairs: weigh\n", "noisy_pairs='weigh': .* is now 'weight'"),
        ("- a\n- b\n", "holds a list: expected a mapping"),
        ("output_dir: x\n", "none of them"),
        ("output_dir: x\nclip_checkpoint: a\nmodel_name_or_path: b\n", "model_name_or_path and clip_checkpoint"),
    ],
)
def test_bad_recipes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        parse_recipe([str(path), *CPU])


def test_an_unknown_key_on_the_command_line_is_named() -> None:
    with pytest.raises(
        RecipeError, match=r"command line has unknown keys: learning_rates\. Did you mean learning_rate"
    ):
        parse_recipe(["--clip_checkpoint", "x", "--output_dir", "y", "--learning_rates=3", *CPU])


def test_a_renamed_key_on_the_command_line_is_named() -> None:
    with pytest.raises(
        RecipeError, match="command line has keys that were renamed: part_loss_delay is now part_loss_w"
    ):
        parse_recipe(["--clip_checkpoint", "x", "--output_dir", "y", "--part_loss_delay", "0.5", *CPU])


def test_missing_recipe_is_named() -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.yaml is not a file"):
        parse_recipe(["nowhere.yaml"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_recipe_for_a_gpu_says_how_to_run_without_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"--bf16 false --use_cpu true"):
        parse_recipe([str(ROOT / "recipes" / "cuhk_pedes.yaml"), "--output_dir", str(tmp_path)])


def test_a_renamed_key_is_named_in_either_spelling() -> None:
    for option in ("--clean_epochs", "--clean-epochs"):
        with pytest.raises(RecipeError, match=r"clean_epochs is now augmentation_warmup_epochs"):
            parse_recipe(["--output_dir", "x", "--clip_checkpoint", "y", *CPU, option, "3"])
