"""Demonstrate tbps on the CPU: render people, train, evaluate, index, search, report.

    make demo                       # or: .venv/bin/python demo.py [--out runs/demo] [--recipe recipes/quickstart.yaml]

Renders ToyPEDES, trains the quickstart recipe from scratch, evaluates it on unseen people, reloads the checkpoint
through AutoModel, indexes the test images, answers five queries and writes report.html, which opens from disk.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as in train_hf.py, before torch is imported

import datasets
import numpy as np
import torch
from transformers import AutoModel, AutoProcessor

import train_hf
from tbps import Gallery
from tbps.cli.terminal import safe_streams
from tbps.data.loading import load_benchmark
from tbps.data.toypedes import ToySummary, generate
from tbps.evaluation.metrics import METRICS, retrieval_metrics
from tbps.report import QueryResult, write_demo_report, write_search_sheet
from tbps.training.program import OneLineParser, run

QUERIES = 5
SHOWN = 8
MARK = "made_by_demo.txt"
MADE = {"data", "model", "gallery", "answers.png", "report.html"}


def main(arguments: Sequence[str] | None = None) -> Path:
    """Run the demonstration and return the path of the report."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/demo"),
        help="folder to write to; the results of an earlier run are removed",
    )
    parser.add_argument("--recipe", type=Path, default=Path("recipes/quickstart.yaml"))
    parser.add_argument("--people", type=int, default=1000, help="people to render; fewer for a quick look")
    options, overrides = parser.parse_known_args(arguments)
    started = time.perf_counter()
    empty(options.out)

    print("1/4  render people")
    data = generate(options.out / "data", people=options.people)
    print(data.describe())
    print(f"2/4  train {options.recipe}, evaluate on unseen people")
    paths = ["--root", str(options.out / "data"), "--output_dir", str(options.out / "model")]
    results = train_hf.main([str(options.recipe), *paths, *overrides])
    print("3/4  reload, index the test images, answer five queries")
    test = load_benchmark("ToyPEDES", options.out / "data")["test"]
    answers = search(options.out, test)
    write_search_sheet(options.out / "answers.png", answers)
    print("4/4  report")
    report = write_report(options.out, results, data, answers, time.perf_counter() - started)
    print(f"R@1 {100 * results['test_rank_1']:.1f} % over {data.splits['test'].people} unseen people and {len(test)} "
          f"images, in {time.perf_counter() - started:.0f} s. Open {report.resolve()}")  # fmt: skip
    return report


def empty(out: Path) -> None:
    """Make the folder, or remove what an earlier run wrote to it.

    Raises:
        FileExistsError: the folder has other files. Nothing is removed.
    """
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"--out {out} is a file. Choose a folder.")
    found = list(out.iterdir()) if out.is_dir() else []
    names = {path.name for path in found}
    earlier = {"data", "report.html"} <= names <= MADE and os.listdir(out / "data") == ["ToyPEDES"]  # without a mark
    if found and MARK not in names and not earlier:
        raise FileExistsError(f"--out {out} has files that demo.py did not write. Choose a new or empty folder.")
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text("The next run of demo.py removes everything in this folder.\n")


def search(out: Path, test: datasets.Dataset) -> list[QueryResult]:
    """Index the test images with the saved checkpoint and answer the captions of five people."""
    model = AutoModel.from_pretrained(out / "model").eval()
    processor = AutoProcessor.from_pretrained(out / "model")
    gallery = Gallery.open(out / "gallery", model, processor, roots=[out / "data"])
    gallery.add(test)
    chosen = np.random.default_rng(0).choice(len(test), size=QUERIES, replace=False)
    rows = [test[int(row)] for row in chosen]
    found = gallery.search([row["captions"][0] for row in rows], k=min(SHOWN, gallery.count()))
    return [
        QueryResult(row["captions"][0], hits, relevant=[hit.metadata["person_id"] == row["person_id"] for hit in hits])
        for row, hits in zip(rows, found, strict=True)
    ]


def chance_level(test: datasets.Dataset, draws: int = 20) -> dict[str, float]:
    """Metrics of random vectors instead of queries and images, averaged over several draws."""
    person_ids = torch.tensor(test["person_id"][:])
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(draws):
        queries, images = torch.randn(2, len(person_ids), 64, generator=generator)
        found.append(retrieval_metrics(queries, images, person_ids, person_ids))
    return {name: sum(metrics[name] for metrics in found) / draws for name in METRICS}


def write_report(
    out: Path, results: dict[str, Any], data: ToySummary, answers: list[QueryResult], seconds: float
) -> Path:
    """Write the page of the run."""
    test = load_benchmark("ToyPEDES", out / "data")["test"]
    report = out / "report.html"
    facts = {
        **{f"{name}: people / images / captions": f"{counts.people} / {counts.images} / {counts.captions}"
           for name, counts in data.splits.items()},
        "parameters": f"{results['parameters'] / 1e6:.2f} million",
        "training": f"{results['train_seconds']:.0f} s, all of it {seconds:.0f} s",
        "checkpoint selected on": results["selected_on"],
        "seed": results["seed"],
    }  # fmt: skip
    write_demo_report(
        report,
        title="A person found by a description",
        about=[
            "A text-based person search model, trained from scratch on this machine on rendered people (ToyPEDES) and "
            "evaluated on people that it never saw. Every caption of the test split is a query, and every test image "
            "is in the gallery.",
            "The captions leave out details. Even a reader who knows every attribute of every person would only reach "
            f"R@1 {100 * data.ceiling:.1f} %. Green frames mark the described person.",
        ],
        metrics={name: results[f"test_{name}"] for name in METRICS},
        chance=chance_level(test),
        ceiling={"rank_1": data.ceiling},
        history=json.loads((out / "model" / "log_history.json").read_text(encoding="utf-8")),
        results=answers,
        facts=facts,
        next_steps=[
            ("Search a folder of your own images", f".venv/bin/tbps index {out}/model FOLDER people"),
            (
                "and ask for a person",
                f'.venv/bin/tbps search {out}/model people "a woman in a red coat" --roots FOLDER --html hits.html',
            ),
            ("Fine-tune CLIP on a benchmark", ".venv/bin/python train_hf.py recipes/cuhk_pedes.yaml --root DATA"),
        ],
    )
    return report


if __name__ == "__main__":
    with safe_streams():
        sys.exit(run("demo.py", main, sys.argv[1:]))
