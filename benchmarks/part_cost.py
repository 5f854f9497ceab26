"""The cost of the parts: a training step with and without them, and the memory of the ranking loss on large batches.

    python benchmarks/part_cost.py                 # writes benchmarks/results/part_cost.json

Step: forward and backward of CLIP ViT-B/16 at 384x128 with random weights, captions of 25 words, SDM + ID; with the
part decoder and all default part losses, the same with separate keys and compactness, or without parts. They take turns
in one process; ratios are medians over neighbours. Memory: peak resident memory of a fresh process during forward and
backward of the ranking loss on B pairs, beyond what it held once the embeddings and their gradients existed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script: `benchmarks` is a package of the checkout

from benchmarks.facts import MEBIBYTE, facts, peak_memory
from tbps import TBPSConfig, TBPSModel
from tbps.loss_tbps import CHUNK
from tbps.ranking_loss_tbps import commonality_margin_ranking

NO_PARTS = {"cmr_loss_weight": 0.0, "part_matching_loss_weight": 0.0, "part_independence_loss_weight": 0.0}
KEYS = {
    "part_image_layer": 0,
    "part_image_key_layer": 6,
    "part_text_key_layer": 6,
    "part_compactness_loss_weight": 32.0,
}
RESULT = Path("benchmarks/results/part_cost.json")


def main() -> None:
    """Measure both, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8, help="pairs of a training step")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pairs", type=int, default=4096, help="pairs of the ranking loss")
    parser.add_argument("--memory-of", choices=["plain", "chunked"], help=argparse.SUPPRESS)  # the child process
    options = parser.parse_args()
    if options.memory_of:
        print(json.dumps(ranking_memory(options.pairs, None if options.memory_of == "plain" else CHUNK)))
        return
    # first: a child's peak memory counts what its parent held when it was started
    memory = {way: in_fresh_process(way, options.pairs) for way in ("plain", "chunked")}
    found = {
        **facts(),
        "step": step_cost(options.batch, options.rounds),
        "ranking_memory": memory,
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def step_cost(batch: int, rounds: int) -> dict[str, Any]:
    """Return the seconds of a step with and without parts, and the median ratios."""
    inputs = {
        "pixel_values": torch.randn(batch, 3, 384, 128),
        "input_ids": torch.cat([torch.randint(1, 49000, (batch, 34)), torch.full((batch, 1), 49407)], dim=1),
        "person_ids": torch.arange(batch),
    }
    models = {
        "with": TBPSModel(TBPSConfig(num_identities=11003)).train(),
        "with_keys": TBPSModel(TBPSConfig(num_identities=11003, **KEYS)).train(),
        "without": WithoutParts(TBPSConfig(num_identities=11003, **NO_PARTS)).train(),
    }
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for round_ in range(rounds + 1):
        for name, model in models.items():
            taken = one_step(model, inputs)
            if round_:  # the first round warms up
                seconds[name].append(taken)
    medians = {f"seconds_{name}": statistics.median(taken) for name, taken in seconds.items()}
    ratios = {
        name: statistics.median(a / b for a, b in zip(seconds[side], seconds["without"], strict=True))
        for name, side in (("ratio", "with"), ("ratio_with_keys", "with_keys"))
    }
    return {"batch": batch, "rounds": rounds, **medians, **ratios}


class WithoutParts(TBPSModel):
    """The same towers without running the part decoder."""

    def __init__(self, config: TBPSConfig) -> None:
        super().__init__(config)
        parts = torch.zeros(1, config.num_parts, config.part_dim)
        states = torch.zeros(1, config.num_parts, config.projection_dim)

        def skip(tokens: torch.Tensor, *rest: Any, **named: Any) -> tuple[torch.Tensor, torch.Tensor, None]:
            return parts.expand(len(tokens), -1, -1), states.expand(len(tokens), -1, -1), None

        self.part_decoder.forward = skip  # type: ignore[method-assign]


def one_step(model: TBPSModel, inputs: dict[str, torch.Tensor]) -> float:
    """Return the seconds of forward and backward."""
    model.zero_grad(set_to_none=True)
    began = time.perf_counter()
    model(**inputs).loss.backward()
    return time.perf_counter() - began


def in_fresh_process(way: str, pairs: int) -> dict[str, float]:
    """Measure the memory of one way in a child process."""
    command = [sys.executable, __file__, "--memory-of", way, "--pairs", str(pairs)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def ranking_memory(pairs: int, chunk_size: int | None) -> dict[str, float]:
    """Return extra MiB, seconds and results of forward and backward, with K = 8 and d = 64."""
    generator = torch.Generator().manual_seed(0)
    text, image = F.normalize(torch.randn(2, pairs, 8, 64, generator=generator), dim=-1)
    ids = torch.arange(pairs)
    text.requires_grad_(), image.requires_grad_()
    config = TBPSConfig()
    loss_of = partial(
        commonality_margin_ranking,
        margin=config.cmr_margin,
        floor=config.cmr_margin_floor,
        commonality=config.commonality,
        positives=config.cmr_positives,
        negatives=config.cmr_negatives,
    )
    loss_of(text[:64], image[:64], ids[:64]).backward()  # loads kernels, makes gradients
    before, began = peak_memory(), time.perf_counter()
    loss = loss_of(text, image, ids, chunk_size=chunk_size)
    loss.backward()
    return {
        "extra_MiB": round((peak_memory() - before) / MEBIBYTE, 1),
        "seconds": round(time.perf_counter() - began, 2),
        "loss": loss.item(),
        "gradient_norm": float(text.grad.norm()),
    }


if __name__ == "__main__":
    main()
