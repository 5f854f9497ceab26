"""Estimate how long the recipes of the three benchmarks would take on a 24 GB card. Not a measurement.

    python benchmarks/recipe_time.py            # writes benchmarks/results/recipe_time.json

Measured: the floating-point operations of a training step of the recipes' model (torch's counter), its seconds, and the
rate of large matrix products on the same machine. Together they give the fraction of the matrix-product rate that a
training step reaches. The estimate applies that fraction to the dense bfloat16 rate that the card's maker publishes,
and, to be careful, also 45 % of it. It ignores evaluation and assumes that loader processes keep up.
"""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script: `benchmarks` is a package of the checkout

from benchmarks.facts import write_result
from benchmarks.train_step import lengths, make_step

BATCH, ROUNDS, PRODUCT = 8, 5, 2048
CAUTIOUS = 0.45
EPOCHS = 60
PAIRS = {"CUHK-PEDES": 68126, "ICFG-PEDES": 34674, "RSTPReid": 37010}  # of train, as published
CARDS = {"RTX 3090": 71e12, "RTX 4090": 165e12, "L4": 121e12, "A10": 125e12}  # dense bfloat16, as published


def main() -> None:
    """Count, time, extrapolate, and write the result."""
    step = make_step("tbps", BATCH)
    with FlopCounterMode(display=False) as counter:
        step()
    operations = counter.get_total_flops() / BATCH
    a, b = torch.randn(2, PRODUCT, PRODUCT)
    steps, products = [], []
    for _ in tqdm(range(ROUNDS), desc="rounds"):
        steps.append(seconds(step))
        products.append(seconds(lambda: a @ b))
    rate = BATCH * operations / statistics.median(steps)
    peak = 2 * PRODUCT**3 / statistics.median(products)
    shares = {"share measured here": rate / peak, "45 % of it": CAUTIOUS * rate / peak}
    write_result(
        "recipe_time.json",
        {
            "caption_tokens_longest": lengths(BATCH)[0],
            "GFLOP_a_pair": round(operations / 1e9, 1),
            "pairs_a_second": round(rate / operations, 2),
            "GFLOP_a_second": {"step": round(rate / 1e9, 1), "matrix products": round(peak / 1e9, 1)},
            "share_of_matrix_products": round(rate / peak, 3),
            "estimated_hours": {
                name: {card: hours(pairs * operations, peak, shares) for card, peak in CARDS.items()}
                for name, pairs in PAIRS.items()
            },
        },
    )


def seconds(work: Any) -> float:
    """Time one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def hours(operations: float, peak: float, shares: dict[str, float]) -> dict[str, float]:
    """Return the hours of all epochs, for each fraction of the card's rate."""
    return {name: round(EPOCHS * operations / (share * peak) / 3600, 1) for name, share in shares.items()}


if __name__ == "__main__":
    main()
