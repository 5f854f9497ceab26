"""Result files of finished runs, as train_hf.py and the method study write them."""

import json
from pathlib import Path
from typing import Any

METRICS = {"rank_1": 0.25, "rank_5": 0.5, "rank_10": 0.75, "mAP": 0.3125, "mINP": 0.125}


def make_results(benchmark: str = "ToyPEDES", **changes: Any) -> dict[str, Any]:
    """The results that train_hf.py writes for a run with a test split."""
    measured = {f"{split}_{name}": value for split in ("val", "test") for name, value in METRICS.items()}
    return {
        "benchmark": benchmark,
        "selected_on": "val",
        "best_checkpoint": "/home/someone/runs/secret-place/checkpoint-8",
        "train_seconds": 12.5,
        "from_scratch": True,
        "base_model": None,
        "training_arguments": {"seed": 3, "learning_rate": 0.001},
        "versions": {"torch": "2.13.0"},
        **measured,
        **changes,
    }


def write_run(results: Path, name: str, rank: float, stage: str = "runs") -> Path:
    """Write the result of seed 1 of a method where the study looks for it; return the file."""
    ranked = {way: dict.fromkeys(("rank_1", "rank_5", "mAP"), rank) for way in ("global", "parts", "whole")}
    result = {
        "val": ranked,
        "test": ranked,
        "settings": {},
        "regime": {"steps": 1},
        "machine": "a core",
        "seconds": 1.0,
    }
    file = results / stage / name / "seed1.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result))
    return file
