"""One run: train a method from the starting checkpoint on the data of a seed, measure it, write one JSON file."""

import json
import os
import platform
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoTokenizer
from transformers.utils import logging

from benchmarks.method.attention_figure import draw_attention
from benchmarks.method.by_item import by_item
from benchmarks.method.commonality import ESTIMATES, register_estimates
from benchmarks.method.likeness import (
    commonality_correlation,
    counterfactual,
    false_negative_auc,
    sampled_share_correlation,
)
from benchmarks.method.localisation import assign, localisation
from benchmarks.method.oracle import oracle_of_run
from benchmarks.method.parts import read_parts
from benchmarks.method.plan import Planned
from benchmarks.method.regions import BODY
from benchmarks.method.results import is_finished, read_result
from benchmarks.method.retrieval import measure
from benchmarks.method.start import SETTINGS, from_start
from benchmarks.method.worlds import first_people, splits, with_noise, world
from tbps import TBPSModel, TBPSProcessor, TBPSTrainer
from tbps.data.toypedes import read_ground_truth
from tbps.evaluation.retrieval import embed_split
from tbps.training.arguments import TBPSTrainingArguments
from tbps.training.build import make_processor

LEARNING_RATE = 2e-3
PICTURED_SEED = 1  # its runs also draw where the parts look
TRUTH_PEOPLE = 500  # people of val and of test whose parts are measured


@dataclass(frozen=True)
class Regime:
    """What all methods of a study share.

    Args:
        people: people in a data set; 70 % are for training.
        steps, batch_size: training steps, and pairs per batch.
        start_people, start_steps: the same for the starting checkpoint.
        caption_noise: fraction of the training captions that are moved to another person's image.
    """

    people: int
    steps: int
    batch_size: int
    start_people: int
    start_steps: int
    caption_noise: float = 0.0


def run(planned: Planned, regime: Regime, start: Path, out: Path) -> None:
    """Train and measure. The result file appears at the end, complete."""
    file, settings, seed, training, oracle_run = planned
    register_estimates()  # each run is a process of its own
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    began = time.perf_counter()
    root = world(out, seed, regime.people)
    rows = splits(root)
    model = from_start(start, settings, len(set(rows["train"]["person_id"])), seed)
    processor = make_processor(model.config, AutoTokenizer.from_pretrained(start))
    trained_on = first_people(rows["train"], len(set(rows["test"]["person_id"])))  # with their own captions
    rows["train"], is_noisy = with_noise(rows["train"], regime.caption_noise, seed)
    trainer = make_trainer(model, processor, rows, planned, regime, out / "training" / str(os.getpid()))
    with oracle_of_run(oracle_run, rows["train"], root, model.config.num_parts) if oracle_run else nullcontext():
        step_seconds = round(trainer.train().metrics["train_runtime"] / regime.steps, 4)
    model.eval()
    measured = {"val": rows["val"], "test": rows["test"], "train": trained_on}
    result = measure(
        model, {name: embed_split(model, processor, split, progress=False) for name, split in measured.items()}
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    if model.config.part_weight:
        picture = file.with_suffix(".jpg") if seed == PICTURED_SEED else None
        result["truth"] = ground_truth(model, processor, rows, root, picture)
    if trainer.noisy_pairs is not None:
        result["suspected"] = suspicion(trainer.noisy_pairs.suspected, is_noisy)
    result |= {
        "settings": settings,
        "training": training,
        "oracle": oracle_run is not None,
        "seed": seed,
        "regime": vars(regime),
        "seconds_a_step": step_seconds,
    }
    result["machine"] = machine()
    result["seconds"] = round(time.perf_counter() - began, 1)
    partial = file.with_suffix(f".partial-{os.getpid()}")
    partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    partial.rename(file)


def suspicion(suspected: np.ndarray, is_noisy: np.ndarray) -> dict[str, float]:
    """Count the pairs suspected at the end; precision is the fraction that is noisy, recall the noisy ones found."""
    right = int((suspected & is_noisy).sum())
    count, noisy = int(suspected.sum()), int(is_noisy.sum())
    return {"count": count, "precision": right / max(count, 1), "recall": right / max(noisy, 1)}


def is_done(planned: Planned, regime: Regime) -> bool:
    """Whether there is a result of exactly these settings. A result of other settings is made again."""
    if not is_finished(planned.file):
        return False
    found = read_result(planned.file)
    same = found["settings"] == planned.settings and found.get("training", {}) == planned.training
    same = same and found.get("oracle", False) == (planned.oracle_run is not None)
    return same and Regime(**found["regime"]) == regime


def machine() -> str:
    """Describe the machine and the versions."""
    cpu = f"{os.cpu_count()} CPU cores ({platform.machine()}), {torch.get_num_threads()} thread a run"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
    return f"{cpu}; {versions}"


def make_trainer(
    model: TBPSModel, processor: TBPSProcessor, rows: Any, planned: Planned, regime: Regime, folder: Path
) -> TBPSTrainer:
    """Return the trainer, which is the same for every method."""
    arguments = TBPSTrainingArguments(
        output_dir=str(folder),
        seed=planned.seed,
        max_steps=regime.steps,
        per_device_train_batch_size=regime.batch_size,
        learning_rate=LEARNING_RATE,
        word_dropout=0.1,
        **{**SETTINGS, **planned.training},
    )
    return TBPSTrainer(model, arguments, train_dataset=rows["train"], processing_class=processor)


def ground_truth(
    model: TBPSModel, processor: TBPSProcessor, rows: Any, root: Path, picture: Path | None
) -> dict[str, Any]:
    """Measure the parts on test against the ground truth (`localisation`, `likeness`, `by_item`). Parts are assigned to
    regions on val. With `picture`, draw where the parts look."""
    truth = read_ground_truth(root / "ToyPEDES")
    assignment = assign(read_parts(model, processor, rows["val"], truth, root, TRUTH_PEOPLE))
    test = read_parts(model, processor, rows["test"], truth, root, TRUTH_PEOPLE)
    if picture:
        captions = [captions[0] for captions in rows["test"]["captions"][: len(test.people)]]
        draw_attention(test, captions, assignment, root / "ToyPEDES" / "imgs", picture)
    found: dict[str, dict[str, Any]] = localisation(test, assignment)
    in_batch = {name: commonality_correlation(test, assignment, name) for name in ESTIMATES}
    among_all = {name: commonality_correlation(test, assignment, name, TRUTH_PEOPLE) for name in ESTIMATES}
    sampled = sampled_share_correlation(test)
    auc = false_negative_auc(test, assignment)
    moved = counterfactual(model, processor, test, assignment, truth)
    items = by_item(test, assignment)
    for region in assignment:
        found[BODY[region].name.lower()] |= {
            "commonality": {name: values[region] for name, values in in_batch.items()},
            "commonality_of_batch_truth": sampled[region],
            "commonality_among_all": {name: values[region] for name, values in among_all.items()},
            "false_negative_auc": auc[region],
            "moves_most": moved[region],
            "by_item": items.get(region, {}),
        }
    return found
