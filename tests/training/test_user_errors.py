"""An error in a recipe ends the program before training, with exit status 2 and one line that names it."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_recipe import recipe

import demo
import train_hf
from tbps.training.program import ERROR, run


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], main: Any = train_hf.main) -> str:
    """Run a program that fails, and return its last line."""
    capsys.readouterr()
    assert run("train_hf.py", main, arguments) == ERROR
    lines = capsys.readouterr().err.strip().splitlines()
    said = [line for line in lines if line.startswith("train_hf.py: error: ")]
    assert lines[-1:] == said
    assert "Traceback" not in "".join(lines)
    return said[0]


NO_TYPES: list[tuple[str, Any]] = [
    (name, value)
    for name in ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "seed", "word_dropout",
                 "dataloader_num_workers", "samples_per_identity", "held_out_share", "weight_decay", "embed_chunk_size")
    for value in ([1], "some", True, float("nan"))
]  # fmt: skip
NO_TYPES += [(name, value) for name in ("do_train", "augment", "skip_missing", "bf16", "load_best_model_at_end")
             for value in (3, "perhaps", [True], {"a": 1})]  # fmt: skip
NO_TYPES += [(name, value) for name in ("benchmark", "root", "image_backend", "on_bad_sample")
             for value in (3, [1], None, {"a": 1})] + [("output_dir", 3)]  # fmt: skip
NO_TYPES += [("model_config", value) for value in (3, "a", [1], None, [])]
NO_TYPES += [("seed", 1.5), ("per_device_train_batch_size", 2.5), ("image_size", "big"), ("image_size", [1.5, 2])]
OUT_OF_RANGE: list[tuple[str, Any]] = [
    ("learning_rate", -1), ("learning_rate", float("inf")), ("num_train_epochs", 0), ("num_train_epochs", -2),
    ("per_device_train_batch_size", 0), ("per_device_eval_batch_size", -1), ("gradient_accumulation_steps", 0),
    ("seed", -1), ("seed", 2**40), ("samples_per_identity", 0), ("samples_per_identity", -1), ("word_dropout", 1.5),
    ("random_erasing", -0.1), ("color_jitter", -1), ("color_jitter", 7), ("augmentation_warmup_epochs", -1),
    ("part_loss_warmup_ratio", 2),
    ("embed_chunk_size", 0), ("length_group_window", -1), ("noisy_pairs", "guess"), ("noisy_pairs_warmup", -1),
    ("new_module_lr_multiplier", -1), ("new_module_lr_multiplier", 5), ("on_bad_sample", "hide"), ("save_steps", 0),
    ("image_backend", "gimp"), ("eval_strategy", "sometimes"), ("lr_scheduler_type", "wavy"), ("optim", "luck"),
    ("metric_for_best_model", "rank1"), ("tokenizer_vocab_size", 2), ("benchmark", "Nowhere"), ("root", "nowhere"),
    ("dataloader_num_workers", -1), ("weight_decay", -1), ("max_grad_norm", -1), ("adam_beta1", 1.5),
    ("save_strategy", "never"), ("hub_strategy", "always"), ("logging_steps", 0), ("report_to", "nobody"),
    ("corpus", "nowhere"), ("model_name_or_path", "./nowhere/at/all"), ("resume_from_checkpoint", "nowhere"),
    ("per_device_train_batch_size", 10**6), ("half_precision_weight", True),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [*NO_TYPES, *OUT_OF_RANGE])
def test_a_value_that_cannot_be_is_one_line_that_names_its_key(
    name: str,
    value: Any,
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = recipe(tmp_path, data, **{"max_steps": 1, "do_predict": False, name: value})
    said = refused([path], capsys)
    assert name in said or str(value) in said, said


MODEL: list[tuple[str, Any]] = [
    ("num_parts", 0), ("num_parts", -1), ("num_parts", "six"), ("num_parts", 2.5), ("part_dim", 0),
    ("projection_dim", 0), ("projection_dim", 25), ("decoder_layers", 0), ("decoder_attention_heads", 0),
    ("decoder_attention_heads", 7), ("decoder_dropout", 0.1),
    ("decoder_intermediate_size", 40),
    ("part_weight", 1), ("part_weight", "half"), ("part_attention", "none"), ("part_image_layer", 9),
    ("part_text_key_layer", -1), ("part_stripes", 99), ("pooling", "sum"), ("stem_channels", [4]),
    ("stem_channels", ["a"]), ("stem_channels", 3), ("special_token_ids", ["a"]), ("num_identities", -1),
    ("num_identities", 3), ("initializer_range", "small"), ("initializer_range", -1),
    ("logit_scale_init_value", float("nan")), ("learn_logit_scale", True), ("global_loss", "triplet"),
    ("global_loss_weight", -1), ("cmr_loss_weight", float("inf")), ("cmr_margin", float("nan")),
    ("cmr_margin_floor", 9.0), ("commonality", "rare"), ("cmr_positives", "all"), ("cmr_negatives", "all"),
    ("part_matching_scale", "big"), ("num_prats", 3), ("vision_config", 3), ("text_config", "clip"),
    ("vision_config", {"image_size": 0}), ("vision_config", {"image_size": [32, 16], "patch_size": 0}),
    ("vision_config", {"hidden_size": 30}), ("vision_config", {"hidden_size": -8}), ("vision_config", {"patch": 8}),
    ("vision_config", {"num_attention_heads": 0}), ("vision_config", {"model_type": "nothing"}),
    ("vision_config", {"model_type": "bert"}), ("vision_config", {"num_hidden_layers": "two"}),
    ("vision_config", {"image_size": "big"}), ("vision_config", {"image_size": [32]}),
    ("text_config", {"vocab_size": 7}), ("text_config", {"eos_token_id": 7}), ("text_config", {"hiden_size": 8}),
    ("text_config", {"hidden_size": 0}), ("text_config", {"max_position_embeddings": 0}),
    ("text_config", {"max_position_embeddings": -3}), ("text_config", {"model_type": "vit"}),
    ("text_config", {"hidden_act": "wavy"}), ("text_config", {"attention_dropout": 3.0}),
    ("text_config", {"attention_dropout": None}), ("text_config", {"layer_norm_eps": None}),
    ("vision_config", {"num_channels": 1}), ("vision_config", {"image_size": []}), ("part_matching_scale", 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), MODEL)
def test_a_model_that_cannot_be_is_one_line(
    name: str,
    value: Any,
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fields = yaml.safe_load(Path(recipe(tmp_path, data)).read_text())["model_config"]
    changed = {**fields[name], **value} if isinstance(value, dict) else value
    path = recipe(tmp_path, data, max_steps=1, do_predict=False, model_config={**fields, name: changed})
    said = refused([path], capsys)
    words = [str(word) for word in next(iter(value.items()))] if isinstance(value, dict) else [name]
    assert any(word in said for word in (*words, "model_config")), said


FILES = {
    "no YAML": "a: [1\n",
    "a tab": "a:\n\t- 1\n",
    "a list": "- 1\n",
    "nothing": "",
    "a key twice": "seed: 1\noutput_dir: x\nseed: 2\n",
    "a key twice within": "output_dir: x\nmodel_config:\n  num_parts: 1\n  num_parts: 2\n",
    "a tag": "a: !!python/object/apply:os.system [echo]\n",
    "nesting": "a: " + "[" * 3000,
    "an alias of itself": "a: &a [*a]\n",
    "a number as a key": "3: 4\n",
    "no output_dir": "clip_checkpoint: x\n",
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_recipe_is_one_line(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(FILES[kind])
    refused([str(path), "--use_cpu", "true"] if "output" in kind else [str(path)], capsys)


def test_what_is_no_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes").write_bytes(b"a: \xff\xfe\n")
    for path in (tmp_path, tmp_path / "nowhere.yaml", tmp_path / "pipe", tmp_path / "bytes", "\x1b[2J"):
        said = refused([str(path)], capsys)
        assert said.isprintable()


@pytest.mark.parametrize(
    ("options", "word"),
    [(["--learning_rates", "3"], "learning_rates"), (["--learning_rate", "fast"], "learning_rate"),
     (["--seed"], "seed"), (["--model_config", "3"], "model_config"), (["--noisy_pairs", "guess"], "noisy_pairs"),
     (["--bf16", "perhaps"], "bf16"), (["more"], "more"), (["--image_size", "a", "b"], "image_size")],
)  # fmt: skip
def test_an_option_that_cannot_be_is_one_line(
    options: list[str],
    word: str,
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert word in refused([recipe(tmp_path, data, max_steps=1), *options], capsys)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"model_name_or_path": "x", "tokenizer_vocab_size": None, "image_size": [32, 16]}, "image_size"),
        ({"model_name_or_path": "x", "tokenizer_vocab_size": 9}, "tokenizer_vocab_size"),
        ({"model_name_or_path": "x", "tokenizer_vocab_size": None, "text_length": 9}, "text_length"),
        ({"clip_checkpoint": "x", "tokenizer_vocab_size": 9}, "tokenizer_vocab_size"),
        ({"image_size": [32, 16]}, "image_size"),
        ({"text_length": 20}, "text_length"),
        ({"held_out_share": 0.2}, "held_out_share"),
        ({"shuffle_buffer": 20}, "shuffle_buffer"),
    ],
)
def test_a_key_that_nothing_reads_is_refused_by_name(
    changes: dict[str, Any],
    word: str,
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {name: value for name, value in changes.items() if value is not None}
    path = Path(recipe(tmp_path, data, max_steps=1, **given))
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({name: value for name, value in values.items() if changes.get(name, 0) is not None}))
    assert f"{word}=" in refused([str(path)], capsys)


def test_the_demo_ends_in_one_line_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--people", "0"], ["--people", "some"], ["--recipe", "nowhere.yaml", "--people", "20"]):
        refused(["--out", str(tmp_path / "demo"), *options], capsys, demo.main)


def test_the_demo_removes_what_demos_made_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    demo.empty(out)
    (out / "model").mkdir()
    (out / "model" / "config.json").write_text("{}")
    demo.empty(out)
    assert [path.name for path in out.iterdir()] == [demo.MARK]
    for name in ("thesis.tex", "model", "data"):
        mine = tmp_path / name / name
        mine.parent.mkdir()
        mine.write_text("mine")
        with pytest.raises(FileExistsError, match=r"has files that demo\.py did not write"):
            demo.empty(mine.parent)
        with pytest.raises(FileExistsError, match="is a file"):
            demo.empty(mine)
        assert mine.read_text() == "mine"
    unmarked = tmp_path / "earlier"
    (unmarked / "data" / "ToyPEDES").mkdir(parents=True)
    (unmarked / "report.html").write_text("")
    demo.empty(unmarked)
    assert [path.name for path in unmarked.iterdir()] == [demo.MARK]
