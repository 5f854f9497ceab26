"""Time to convert and to stream a pre-training corpus, and whether memory stays flat.

    OMP_NUM_THREADS=1 python benchmarks/shard_corpus.py      # writes benchmarks/results/shard_corpus.json

Images: JPEG files of 128x384, gradients with grain, about 17 KB each, in the format of WebPerson. A process converts
each size (as `tbps data shard` with 2 threads, which decode every image once), and its peak memory is recorded; with 64
images it shows what the process itself needs. Then another process streams the shards: one reader, a buffer of 1,000
rows, one pass of undecoded rows. "repeated": 100,000 entries of the same 1,000 images.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.facts import MEBIBYTE, facts

RESULT = Path("benchmarks/results/shard_corpus.json")
SIZES = (("64", 64, 1), ("1000", 1000, 1), ("10000", 10000, 1), ("100000 repeated", 1000, 100))
CAPTION = "a person with a red coat, blue trousers and a bag walks to the left"
MEASURED = """
import time
from pathlib import Path
import datasets, tbps
from benchmarks.facts import peak_memory
source, out = Path({source!r}), Path({out!r})
started = time.perf_counter()
{code}
print(time.perf_counter() - started, peak_memory())
"""
CONVERT = """
from tbps.data.corpora.writer import write_corpus
write_corpus("webperson", [source], out, source.parent, workers=2, progress=False)
"""
STREAM = """
from itertools import takewhile
from tbps.data.corpora.corpus import Corpus
from tbps.data.corpora.stream import endless_rows
stream = endless_rows(Corpus(out).rows(), 0, 1, 0, 1000)
print(sum(1 for _ in takewhile(lambda found: found[1].epoch == 0, stream)))
"""


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for name, images, repeats in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            source, shards = write_source(Path(folder), images, repeats), Path(folder) / "shards"
            found[name] = {"convert": timed(CONVERT, source, shards), "stream": timed(STREAM, source, shards)}
            found[name]["shards_mib"] = round(sum(path.stat().st_size for path in shards.iterdir()) / MEBIBYTE, 1)
        print(name, found[name], flush=True)
    options.out.write_text(
        json.dumps({**facts(), "cores": os.cpu_count(), "images": found}, indent=1) + "\n", encoding="utf-8"
    )


def write_source(folder: Path, count: int, repeats: int) -> Path:
    """Write `count` images and a JSON file that names each of them several times."""
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 200, 384)[:, None, None]
    grain = rng.normal(0, 12, (512, 256, 3))
    entries = []
    for number in range(count):
        down, right = rng.integers(0, 128, 2)
        pixels = slope * rng.random(3) + grain[down : down + 384, right : right + 128]
        name = f"{number:06}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name, quality=90)
        entries.append({name: {"caption1": CAPTION, "caption2": f"{CAPTION}, number {number}"}})
    source = folder / "webperson.json"
    source.write_text(json.dumps(entries * repeats), encoding="utf-8")
    return source


def timed(code: str, source: Path, out: Path) -> dict[str, Any]:
    """Run `code` in a process; return its seconds without imports, and its peak memory."""
    whole = MEASURED.format(source=str(source), out=str(out), code=code)
    run = subprocess.run(
        [sys.executable, "-c", whole], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    seconds, peak = run.stdout.split()[-2:]
    return {"seconds": round(float(seconds), 2), "peak_mib": round(int(peak) / MEBIBYTE)}


if __name__ == "__main__":
    main()
