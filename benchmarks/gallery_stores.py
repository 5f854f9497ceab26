"""Measure a gallery in each store: bytes on disk, seconds to write, seconds of a search for one query.

    python benchmarks/gallery_stores.py             # writes benchmarks/results/gallery_stores.json
    python benchmarks/gallery_stores.py --server http://127.0.0.1:19530   # and a server, token in MILVUS_TOKEN

The rows are random unit vectors of 1024 numbers, with a path and three metadata entries but without thumbnails. The
searches take turns among the stores; times are medians. The bytes of a server are not measured, as its disks hold them.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script: `benchmarks` is a package of the checkout

from benchmarks.facts import facts
from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery.filters import Filter
from tbps.gallery.metadata import make_row
from tbps.gallery.open_store import open_store
from tbps.gallery.store import DTYPES, Dtype, Layout, SearchRequest, VectorStore

WIDTH = 1024
MODEL = ModelIdentity("random vectors", "0" * 32, WIDTH)
COMMITTED = 4096
RESULT = Path("benchmarks/results/gallery_stores.json")
SEARCHES = {"all": SearchRequest(10), "of one camera in 8": SearchRequest(10, filter=Filter(camera=3))}


def main() -> None:
    """Fill all stores, search them in turn, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--server", help="http(s)://host:port")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        places = {dtype: f"{folder}/{dtype}" for dtype in DTYPES} | {"milvus-lite": f"{folder}/lite.db"}
        if options.server:
            places["milvus server"] = f"{options.server}/tbps_benchmark_{time.time_ns()}"
        stores, measured = {}, {}
        for name, where in places.items():
            stores[name], measured[name] = fill(name, where, options.rows)
        for name, seconds in search_in_turn(stores, options.rounds).items():
            measured[name]["seconds_of_a_search"] = seconds
    found = {**facts(), "rows": options.rows, "width": WIDTH, "stores": measured}
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def fill(name: str, where: str, rows: int) -> tuple[VectorStore, dict[str, Any]]:
    """Fill a store; return it, the seconds that took, and its bytes."""
    dtype: Dtype = next((one for one in DTYPES if one == name), "float32")
    layout = Layout(dtype, WIDTH // 2, 8, WIDTH // 16)
    store = open_store(where, MODEL, layout, os.environ.get("MILVUS_TOKEN") if "://" in where else None)
    rng = np.random.default_rng(0)
    seconds = 0.0
    for start in range(0, rows, COMMITTED):
        numbers = range(start, min(start + COMMITTED, rows))
        vectors = rng.normal(size=(len(numbers), WIDTH)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        made = [make_row(f"{rng.integers(1 << 62):032x}", f"/data/crops/camera_{n % 8}/{n:09d}.jpg", about(n))
                for n in numbers]  # fmt: skip
        began = time.perf_counter()
        with store.writing():
            store.append(made, vectors)
        seconds += time.perf_counter() - began
    measured: dict[str, Any] = {"seconds_of_writing": round(seconds, 2)}
    if "://" not in where:
        size = sum(path.stat().st_size for path in Path(where).rglob("*") if path.is_file())
        measured["bytes_per_image"] = round(size / rows)
    return store, measured


def about(number: int) -> dict[str, Any]:
    """Return metadata as a tracker would write it."""
    return {"camera": number % 8, "timestamp": 1.7e9 + number, "source": f"track_{number // 10:06d}"}


def search_in_turn(stores: dict[str, VectorStore], rounds: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of a search for one query, by store and kind of search."""
    rng = np.random.default_rng(1)
    seconds: dict[tuple[str, str], list[float]] = {(name, kind): [] for name in stores for kind in SEARCHES}
    for round_ in range(rounds + 1):
        query = rng.normal(size=(1, WIDTH)).astype(np.float32)
        for (name, kind), taken in seconds.items():
            began = time.perf_counter()
            stores[name].search(query / np.linalg.norm(query), SEARCHES[kind])
            if round_:  # the first round reads files
                taken.append(time.perf_counter() - began)
    return {name: {kind: round(statistics.median(seconds[name, kind]), 4) for kind in SEARCHES} for name in stores}


if __name__ == "__main__":
    main()
