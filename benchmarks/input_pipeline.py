"""Speed of the input pipeline on one core, against bare decoding and resizing; padding that length groups save.

    OMP_NUM_THREADS=1 python benchmarks/input_pipeline.py      # writes benchmarks/results/input_pipeline.json

Images: rendered people as JPEG files of the sizes of person crops (300 to 600 pixels high, quality 90, with grain).
Bare is `PIL.Image.open(file).convert("RGB").resize((128, 384), BICUBIC)`. The pipeline is `PersonPairs` with
augmentation and `PairCollator` at batches of 64, as a loader process runs it: to bytes (`TBPSTrainer`, which normalises
on the device), or to floats; by Pillow, and by torchvision if it is installed. "processor" calls the image processor
image by image, as evaluation does, without augmentation. All ways take turns in one process. Times are medians of CPU
seconds, which other programs disturb less than the clock. Padding is measured on batches of 64 captions of 25 ± 10
words (normal, 5 to 75, plus two special tokens), six pairs per person, by `length_group_window`, with the gain in a
training step.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL
import torch
import transformers
from PIL import Image

from tbps import TBPSConfig, TBPSImageProcessor, TBPSModel, TBPSProcessor
from tbps.data.augment import Augmentation
from tbps.data.images import open_image
from tbps.data.pairs import PairCollator, PersonPairs
from tbps.data.preprocessing import torchvision_io
from tbps.data.samplers import IdentitySampler, LengthGroupedSampler
from tbps.data.toypedes.dataset import generate
from tbps.training.tokenizer import train_tokenizer

RESULT = Path("benchmarks/results/input_pipeline.json")
BATCH = 64
CAPTION = "a person with a red coat, blue trousers and a bag walks to the left and looks at the ground"
Way = Callable[[int], None]


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=192, help=f"a multiple of {BATCH}")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--step-rounds", type=int, default=3, help="training steps of each length")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_crops(Path(folder), options.images)
        pipeline = images_per_second(paths, options.rounds)
    padding = padding_by_window()
    found = {
        "command": "python " + " ".join(sys.argv),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "pillow": PIL.__version__,
                     "transformers": transformers.__version__, "torchvision": torchvision_version()},
        "machine": f"one core of a CPU with {os.cpu_count()}, shared with other programs",
        "pipeline": pipeline,
        "padding": padding,
        "step": step_by_length(padding, options.step_rounds),
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def torchvision_version() -> str | None:
    """Return the version of torchvision; None if it is not installed."""
    if torchvision_io() is None:
        return None
    import torchvision

    return str(torchvision.__version__)


def write_crops(folder: Path, count: int) -> list[str]:
    """Write rendered people as JPEG files of the sizes of person crops."""
    generate(folder, people=max(10, -(-count // 3)), images_per_person=3, progress=False, workers=1)
    rng = np.random.default_rng(0)
    paths = []
    for number, source in enumerate(sorted((folder / "ToyPEDES" / "imgs").rglob("*.png"))[:count]):
        height = int(rng.integers(300, 601))
        width = int(height * rng.uniform(0.38, 0.44))
        picture = Image.open(source).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        grained = np.asarray(picture) + rng.normal(0, 4, (height, width, 3))
        paths.append(str(folder / f"{number}.jpg"))
        Image.fromarray(grained.clip(0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def images_per_second(paths: list[str], rounds: int) -> dict[str, Any]:
    """Return images per second for each way, and the median ratio to bare decoding in the same round."""
    ways = {
        "bare": bare(paths, Image.Resampling.BICUBIC),
        "bare_bilinear": bare(paths, Image.Resampling.BILINEAR),
        **pipelines(paths),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(rounds + 1):
        for name, way in ways.items():
            began = time.process_time()
            way(round_)
            if round_:  # the first round warms up
                seconds[name].append(time.process_time() - began)
    return {
        "images": len(paths),
        "rounds": rounds,
        "images_per_second": {name: round(len(paths) / statistics.median(taken)) for name, taken in seconds.items()},
        **{f"share_of_{name}": shares(seconds, name) for name in ("bare", "bare_bilinear")},
    }


def shares(seconds: dict[str, list[float]], base: str) -> dict[str, float]:
    """Return the speed of each way relative to another, as the median over rounds."""
    return {
        name: round(statistics.median(b / a for a, b in zip(taken, seconds[base], strict=True)), 3)
        for name, taken in seconds.items()
        if name != base
    }


def bare(paths: list[str], resample: Image.Resampling) -> Way:
    """Decode and resize only."""

    def run(round_: int) -> None:
        for path in paths:
            Image.open(path).convert("RGB").resize((128, 384), resample)

    return run


def pipelines(paths: list[str]) -> dict[str, Way]:
    """Return the pipelines to bytes and to floats for each installed backend, and the image processor."""
    processor = TBPSProcessor(TBPSImageProcessor(), train_tokenizer([CAPTION], 300))
    table = {"image": paths, "captions": [[CAPTION]] * len(paths), "person_id": list(range(len(paths)))}
    rows = datasets.Dataset.from_dict(table).cast_column("image", datasets.Image())
    ways: dict[str, Way] = {"processor": by_processor(paths, processor)}
    for backend in ("pil", "torchvision") if torchvision_io() else ("pil",):
        pairs = PersonPairs(rows, processor, Augmentation(), image_backend=backend)
        ways[f"{backend}_to_bytes"] = batches(pairs, PairCollator(processor, as_bytes=True))
        ways[f"{backend}_to_floats"] = batches(pairs, PairCollator(processor))
    return ways


def batches(pairs: PersonPairs, collate: PairCollator) -> Way:
    """Return a function that loads all batches of an epoch."""

    def run(round_: int) -> None:
        for start in range(0, len(pairs), BATCH):
            collate(pairs.__getitems__([(round_, index) for index in range(start, start + BATCH)]))

    return run


def by_processor(paths: list[str], processor: TBPSProcessor) -> Way:
    """Return a function that calls the image processor image by image and stacks batches."""

    def run(round_: int) -> None:
        for start in range(0, len(paths), BATCH):
            images = [open_image(path) for path in paths[start : start + BATCH]]
            torch.stack([processor.image_processor(image, return_tensors="pt")["pixel_values"][0] for image in images])

    return run


def padding_by_window(people: int = 4000, each: int = 6) -> dict[str, dict[str, float]]:
    """Return the fraction of padding in a batch and the mean longest caption, by window; 0 means no groups."""
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(people), each)
    lengths = rng.normal(25, 10, len(ids)).clip(5, 75).round().astype(int) + 2
    order = IdentitySampler(ids, BATCH)
    found = {}
    for window in (0, 2, 4, 8, 16, 64):
        sampler = LengthGroupedSampler(order, lengths, ids, BATCH, window) if window else order
        keys = [index for _, index in sampler]
        whole = lengths[keys[: len(keys) - len(keys) % BATCH]].reshape(-1, BATCH)
        longest = whole.max(axis=1)
        found[str(window)] = {
            "padding": round(float(1 - whole.sum() / (longest.sum() * BATCH)), 4),
            "mean_longest": round(float(longest.mean()), 2),
        }
    return found


def step_by_length(padding: dict[str, dict[str, float]], rounds: int, batch: int = 8) -> dict[str, Any]:
    """Time a training step of CLIP ViT-B/16 at 384x128 with captions as long as without groups, and as with them."""
    lengths = {name: round(padding[name]["mean_longest"]) for name in ("0", "8")}
    model = TBPSModel(TBPSConfig(num_identities=11003)).train()
    seconds: dict[str, list[float]] = {name: [] for name in lengths}
    for round_ in range(rounds + 1):
        for name, length in lengths.items():
            words = torch.randint(1, 49000, (batch, length - 1))
            inputs = {
                "pixel_values": torch.randn(batch, 3, 384, 128),
                "input_ids": torch.cat([words, torch.full((batch, 1), 49407)], dim=1),
                "person_ids": torch.arange(batch),
            }
            model.zero_grad(set_to_none=True)
            began = time.process_time()
            model(**inputs).loss.backward()
            if round_:
                seconds[name].append(time.process_time() - began)
    return {
        "batch": batch,
        "rounds": rounds,
        "tokens": lengths,
        "seconds": {name: round(statistics.median(taken), 3) for name, taken in seconds.items()},
        "ratio": round(statistics.median(b / a for a, b in zip(seconds["0"], seconds["8"], strict=True)), 4),
    }


if __name__ == "__main__":
    main()
