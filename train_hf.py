"""Train a text-based person search model.

    .venv/bin/python train_hf.py recipes/quickstart.yaml
    .venv/bin/python train_hf.py recipes/cuhk_pedes.yaml --root /data --learning_rate 2e-5 --seed 1
    .venv/bin/torchrun --nproc_per_node 4 train_hf.py recipes/cuhk_pedes.yaml
    .venv/bin/accelerate launch --config_file recipes/accelerate/ddp.yaml train_hf.py recipes/cuhk_pedes.yaml

It parses the recipe, loads the data, trains, selects the checkpoint on val, evaluates on test and saves. With
`--push_to_hub true --hub_model_id NAME/MODEL` it also pushes the model. `--help` lists every key.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Set before torch is imported: waiting threads sleep instead of spinning. Beside other programs, a spinning thread can
# keep the thread that it waits for from running: 24 steps took 152 s instead of 21 s.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import datasets
from transformers import set_seed

from tbps import TBPSTrainer
from tbps.cli.terminal import safe_streams
from tbps.data.provenance import provenance
from tbps.evaluation.fingerprint import identify
from tbps.training.build import build_model, load_splits
from tbps.training.card_facts import start_facts, training_facts
from tbps.training.checkpoints import last_complete_checkpoint
from tbps.training.noisy_pairs import suspects
from tbps.training.program import run, summary
from tbps.training.recipe import Recipe, parse_recipe
from tbps.training.sharded import gather_full_model


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Run a recipe, and return the results that are also written to `results.json` of its output directory."""
    recipe = parse_recipe(arguments)
    set_seed(recipe.training.seed)
    splits = load_splits(recipe.data, recipe.training.seed)
    model, processor = build_model(recipe.model, splits["train"])
    trainer = TBPSTrainer(
        model,
        recipe.training,
        train_dataset=splits["train"] if recipe.training.do_train else None,
        eval_dataset=splits["val"],
        processing_class=processor,
    )
    started = time.perf_counter()
    if recipe.training.do_train:
        trainer.train(resume_from_checkpoint=last_checkpoint(recipe))
        trainer.model = gather_full_model(trainer.model)
        write_suspects(trainer, splits["train"])
    results = {
        "benchmark": recipe.data.benchmark,
        "corpus": splits["train"].name if recipe.data.corpus else None,  # trained on this instead of the benchmark
        "data": provenance(recipe.data.benchmark, recipe.data.root, splits),
        "seed": recipe.training.seed,
        "selected_on": "val",
        # Trainer records the best checkpoint even if it does not load it
        "best_checkpoint": trainer.state.best_model_checkpoint if recipe.training.load_best_model_at_end else None,
        "train_seconds": round(time.perf_counter() - started, 1),
        "parameters": model.num_parameters(),
        "model_fingerprint": identify(trainer.model, processor).fingerprint,
    }
    if recipe.training.do_train:
        results |= start_facts(recipe.model) | training_facts(recipe.training)
    results |= trainer.evaluate(splits["val"], metric_key_prefix="val")
    save_model(trainer)  # before the test images are read, as one of them may be broken
    write_results(trainer, results)
    if recipe.training.do_predict:
        results |= trainer.evaluate(splits["test"], metric_key_prefix="test")
        write_results(trainer, results)
    if trainer.is_world_process_zero():
        print(summary(results, {name: len(rows) for name, rows in splits.items()}, Path(recipe.training.output_dir)))
    if recipe.training.push_to_hub:
        trainer.push_to_hub()  # last: if the connection fails, `tbps push` can repeat it
    return results


def last_checkpoint(recipe: Recipe) -> str | None:
    """The checkpoint to resume, or None. `--resume_from_checkpoint true` is the latest complete one, if any."""
    wanted = recipe.training.resume_from_checkpoint
    if str(wanted).lower() == "false":
        return None
    if str(wanted).lower() == "true":
        return last_complete_checkpoint(recipe.training.output_dir)
    return wanted


def write_suspects(trainer: TBPSTrainer, rows: datasets.Dataset) -> None:
    """Write the pairs that were suspected at the end to `suspected_pairs.json`, if noisy_pairs was on."""
    if trainer.noisy_pairs is not None and trainer.is_world_process_zero():
        found = suspects(rows, trainer.noisy_pairs)
        (Path(trainer.args.output_dir) / "suspected_pairs.json").write_text(
            json.dumps(found, indent=1) + "\n", encoding="utf-8"
        )


def save_model(trainer: TBPSTrainer) -> None:
    """Save the model without the head of the training identities, and its processor."""
    trainer.model.drop_id_head()
    if trainer.is_world_process_zero():
        trainer.model.save_pretrained(trainer.args.output_dir)
        trainer.processing_class.save_pretrained(trainer.args.output_dir)


def write_results(trainer: TBPSTrainer, results: dict[str, Any]) -> None:
    """Write the results so far, the training log and the model card."""
    if not trainer.is_world_process_zero():
        return
    output = Path(trainer.args.output_dir)
    (output / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    (output / "log_history.json").write_text(json.dumps(trainer.state.log_history, indent=1) + "\n", encoding="utf-8")
    trainer.create_model_card()


if __name__ == "__main__":
    with safe_streams():
        sys.exit(run("train_hf.py", main, sys.argv[1:]))
