"""A training step of tbps against that of CLIP, and the memory of a batch that no device can hold at once.

    python benchmarks/train_step.py                     # writes benchmarks/results/train_step.json
    python benchmarks/train_step.py --large-batch       # writes benchmarks/results/large_batch.json

Step: zero gradients, forward, backward, fused AdamW, in float32 (bfloat16 by autocast on a GPU). ViT-B/16 at 384x128
with random weights on all sides. tbps: all default losses, an instance loss over 11,003 people, captions padded to the
batch's longest. CLIP: InfoNCE of `transformers.CLIPModel` with the same rectangle of patches, captions padded to 77 as
published code does, and to the batch's longest. Caption lengths are normal with mean 25 and deviation 8 words, at 1.2
tokens per word. The sides take turns in one process; ratios are medians over rounds. Peak memory is that of a fresh
process per side, beyond what it held after all imports. In these, glibc returns freed memory at once
(`MALLOC_MMAP_THRESHOLD_`). By default it keeps freed blocks of up to 32 MiB; larger ones do not fit between them, and
the process grows with the number of chunks although its tensors do not.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import CLIPConfig, CLIPModel

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script: `benchmarks` is a package of the checkout

from benchmarks.facts import MEBIBYTE, peak_memory, write_result
from tbps import TBPSConfig, TBPSModel
from tbps.towers_tbps import RectangularVisionEmbeddings

CLIP_LENGTH = 77
IDENTITIES = 11003
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1048576"}
LARGE = (("64 pairs at once", 64, None), ("512 pairs, 64 at a time", 512, 64))
Step = Callable[[], torch.Tensor]


def main() -> None:
    """Measure, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8, help="pairs of a step")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--large-batch", action="store_true", help="memory of 512 pairs in chunks, beside 64 at once")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)  # the child process
    parser.add_argument("--chunk", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(json.dumps(memory_of(options.memory_of, options.batch, options.chunk)))
        return
    if options.large_batch:
        sides = {name: in_fresh_process("tbps", batch, chunk) for name, batch, chunk in tqdm(LARGE)}
        write_result("large_batch.json", {"step": sides})
        return
    memory = {side: in_fresh_process(side, options.batch) for side in ("tbps", "clip 77")}
    found = {**step_seconds(options.batch, options.rounds), "memory": memory}
    found["memory_ratio"] = round(memory["tbps"]["peak_MiB"] / memory["clip 77"]["peak_MiB"], 3)
    write_result("train_step.json", found)


def step_seconds(batch: int, rounds: int) -> dict[str, Any]:
    """Return the median seconds of a step by side, and the median ratios of tbps to the others."""
    steps = {side: make_step(side, batch) for side in ("tbps", "clip 77", "clip longest")}
    seconds: dict[str, list[float]] = {side: [] for side in steps}
    for round_ in tqdm(range(rounds + 1), desc="rounds"):
        for side, step in steps.items():
            began = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if round_:  # the first round warms up
                seconds[side].append(time.perf_counter() - began)
    return {
        "batch": batch,
        "rounds": rounds,
        "caption_tokens": {"longest": lengths(batch)[0], "mean": statistics.mean(lengths(batch))},
        "seconds": {side: round(statistics.median(taken), 4) for side, taken in seconds.items()},
        "ratio_to": {
            side: round(statistics.median(a / b for a, b in zip(seconds["tbps"], seconds[side], strict=True)), 3)
            for side in seconds
            if side != "tbps"
        },
    }


def lengths(batch: int) -> list[int]:
    """Return the tokens per caption, with begin and end, longest first."""
    words = torch.normal(25.0, 8.0, (batch,), generator=torch.Generator().manual_seed(0)).clamp(6, 60)
    return sorted((int(1.2 * count) + 2 for count in words), reverse=True)


def captions(batch: int, padded_to: int) -> dict[str, torch.Tensor]:
    """Make random input_ids and attention_mask (batch, padded_to), with end tokens and padding."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 49000, (batch, padded_to), generator=generator)
    mask = torch.zeros(batch, padded_to, dtype=torch.long)
    for row, length in enumerate(lengths(batch)):
        ids[row, length - 1 :] = 49407
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask}


def make_step(side: str, batch: int, chunk: int | None = None, with_state: bool = False) -> Step:
    """Return a step of a side on a fixed batch. `with_state`: the optimizer has already made a step."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    inputs = captions(batch, CLIP_LENGTH if side == "clip 77" else lengths(batch)[0])
    inputs["pixel_values"] = torch.randn(batch, 3, 384, 128)
    options: dict[str, Any] = {"return_loss": True}
    model: Any = rectangular_clip() if side != "tbps" else TBPSModel(TBPSConfig(num_identities=IDENTITIES))
    if side == "tbps":
        inputs["person_ids"] = torch.arange(batch)
        options["embed_chunk_size"] = chunk
    model.to(device).train()
    inputs = {name: value.to(device) for name, value in inputs.items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    if with_state:
        for parameter in trained:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = model(**inputs, **options).loss
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def rectangular_clip() -> CLIPModel:
    """Build Transformers' CLIP ViT-B/16 on 24x8 patches, as in tbps."""
    sides = TBPSConfig()
    model = CLIPModel(CLIPConfig(vision_config={"patch_size": 16, "image_size": 224}))
    model.vision_model.embeddings = RectangularVisionEmbeddings(sides.vision_config)
    return model


def in_fresh_process(side: str, batch: int, chunk: int | None = None) -> dict[str, float]:
    """Measure the memory of one side in a child process."""
    command = [sys.executable, __file__, "--memory-of", side, "--batch", str(batch)]
    command += ["--chunk", str(chunk)] if chunk else []
    run = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **ALLOCATOR})
    return json.loads(run.stdout)


def memory_of(side: str, batch: int, chunk: int | None) -> dict[str, float]:
    """Return the peak MiB of a step with the optimizer's state in memory, and its seconds."""
    before = peak_memory()
    step = make_step(side, batch, chunk, with_state=True)
    began = time.perf_counter()
    loss = step()
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_memory() - before
    return {"peak_MiB": round(peak / MEBIBYTE), "seconds": round(time.perf_counter() - began, 2), "loss": float(loss)}


if __name__ == "__main__":
    main()
