"""Search against plain NumPy, at 100,000 and at a million vectors; evaluation against a full argsort.

    python benchmarks/search_vectors.py runs/search      # first: vectors of a trained model
    python benchmarks/search.py exact runs/search        # 100,000 x 1024 against NumPy
    python benchmarks/search.py million runs/search      # 1,000,000 x 1024
    python benchmarks/search.py adding runs/search       # 3,000 images into a gallery, against the model alone
    python benchmarks/search.py evaluation               # 19,848 x 19,848

Each writes benchmarks/results/search_<part>.json. The vectors are those of `search_vectors.py`, the queries are texts.
Both sides take turns of 50 queries in one process, as the threads of NumPy's OpenBLAS spin for 0.2 s after a call and
take a core from the next side. Then each side answers some queries after a pause: sleeping threads of torch wake late
on a virtual machine, so that one core does the work. Figures are medians over queries. NumPy computes a float32
matrix-vector product and `argpartition` on vectors in memory. Galleries are opened from disk, with their files in the
system's cache.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoModel, AutoProcessor

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script: `benchmarks` is a package of the checkout

from benchmarks.facts import MEBIBYTE, peak_memory, write_result
from tbps import Gallery
from tbps.data.images import list_images, open_image
from tbps.evaluation.fingerprint import ModelIdentity
from tbps.evaluation.metrics import retrieval_metrics
from tbps.gallery.filters import Filter
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import Layout, Row, SearchRequest

K = 10
PREFIX, PARTS, PART = 512, 8, 64
CAMERAS = 20  # one of them: 5 % of the rows
EVALUATED, PEOPLE = 19848, 1000
BATCH = 64
TURN = 50  # queries
AFTER_PAUSE, PAUSE = 20, 0.3  # queries, seconds
Answer = Callable[[np.ndarray], list[int]]


def main() -> None:
    """Measure one part, and write its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("exact", "million", "adding", "evaluation", "memory"))
    parser.add_argument("vectors", nargs="?", type=Path, help="folder of search_vectors.py")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rows", type=int, help="fewer, for a quick look")
    options = parser.parse_args()
    if options.part == "evaluation":
        write_result("search_evaluation.json", evaluation())
    elif options.part == "adding":
        write_result("search_adding.json", adding(options.vectors))
    elif options.part == "memory":  # the child process of "evaluation"
        print(json.dumps(evaluation_memory()))
    else:
        rows = options.rows or (100_000 if options.part == "exact" else 1_000_000)
        measure = exact if options.part == "exact" else million
        with tempfile.TemporaryDirectory(dir=options.vectors) as folder:
            found = measure(Path(folder), options.vectors, rows, options.queries)
        write_result(f"search_{options.part}.json", {"rows": rows, "queries": options.queries, **found})


def exact(folder: Path, source: Path, rows: int, count: int) -> dict[str, Any]:
    """Measure exact search, and 8-bit codes with rescoring, against NumPy."""
    vectors = load_vectors(source, rows)
    queries = load_queries(source, count)
    store = fill(folder / "float32", vectors)
    sides: dict[str, Answer] = {
        "numpy": lambda query: by_numpy(vectors, query),
        "exact": lambda query: found_by(store, query, SearchRequest(K)),
        "int8, 100 candidates": lambda query: found_by(store, query, SearchRequest(K, "int8", 100)),
        "global, 100 candidates": lambda query: found_by(store, query, SearchRequest(K, "global", 100)),
        "global, 1000 candidates": lambda query: found_by(store, query, SearchRequest(K, "global", 1000)),
    }
    result = take_turns(sides, queries)
    for dtype in ("float16", "int8"):
        small = fill(folder / dtype, vectors, dtype)
        answers = [found_by(small, query, SearchRequest(K)) for query in tqdm(queries, desc=dtype)]
        result[f"stored as {dtype}"] = {"recall_at_10": recall(answers, result["answers"]),
                                        "bytes_a_row": round(size(folder / dtype) / rows)}  # fmt: skip
    result["stored as float32"] = {"bytes_a_row": round(size(folder / "float32") / rows)}
    del result["answers"]
    return result


def million(folder: Path, source: Path, rows: int, count: int) -> dict[str, Any]:
    """Measure a million rows: the index, filters, opening."""
    vectors = load_vectors(source, rows)
    queries = load_queries(source, count)
    store = fill(folder / "float32", vectors)
    began = time.perf_counter()
    with store.writing():
        store.build_index()
    built = time.perf_counter() - began
    began = time.perf_counter()
    store = FolderStore.read(folder / "float32")
    opened = time.perf_counter() - began
    began = time.perf_counter()
    store.search(queries[:1], SearchRequest(K))
    first = time.perf_counter() - began
    one_camera = Filter(camera=0)
    index = {probes: SearchRequest(K, "index", 100, probes) for probes in (16, 32, 64, 128)}
    sides: dict[str, Answer] = {
        "numpy": lambda query: by_numpy(vectors, query),
        "exact": lambda query: found_by(store, query, SearchRequest(K)),
        "int8, 100 candidates": lambda query: found_by(store, query, SearchRequest(K, "int8", 100)),
        **{f"index, {probes} lists": partial(found_by, store, request=request) for probes, request in index.items()},
    }
    result = take_turns(sides, queries)
    filtered: dict[str, Answer] = {
        "numpy": lambda query: [CAMERAS * row for row in by_numpy(vectors[::CAMERAS], query)],
        "exact, filtered": lambda query: found_by(store, query, SearchRequest(K, filter=one_camera)),
        "index, filtered": lambda query: found_by(store, query, SearchRequest(K, "index", 100, filter=one_camera)),
    }
    result["filter of 5 % of the rows"] = take_turns(filtered, queries)
    for part in (result, result["filter of 5 % of the rows"]):
        del part["answers"]
    lists = store.manifest.index.lists if store.manifest.index else None
    return {**result, "index_build_s": round(built, 1), "index_lists": lists, "open_s": round(opened, 3),
            "first_search_s": round(first, 3), "gallery_bytes": size(folder / "float32")}  # fmt: skip


def adding(source: Path) -> dict[str, Any]:
    """Measure adding a folder of images to new galleries, against the model on ready tensors."""
    model = AutoModel.from_pretrained(source / "model").eval()
    processor = AutoProcessor.from_pretrained(source / "model")
    files = list_images(source / "data" / "ToyPEDES" / "imgs")
    ready = processor(images=[open_image(file) for file in files[:BATCH]], return_tensors="pt")
    seconds: dict[str, list[float]] = {"model": [], "add": [], "add with thumbnails": []}
    for _ in tqdm(range(3), desc="rounds"):
        began = time.perf_counter()
        with torch.no_grad():
            for _ in range(0, len(files), BATCH):
                model.get_image_features(**ready)
        seconds["model"].append(time.perf_counter() - began)
        for side, thumbnails in (("add", False), ("add with thumbnails", True)):
            with tempfile.TemporaryDirectory() as folder:
                gallery = Gallery.open(folder, model, processor)
                began = time.perf_counter()
                gallery.add(files, thumbnails=thumbnails, batch_size=BATCH, progress=False)
                seconds[side].append(time.perf_counter() - began)
    each = {side: 1000 * statistics.median(taken) / len(files) for side, taken in seconds.items()}
    return {"images": len(files), "image_pixels": list(open_image(files[0]).size),
            "ms_an_image": {side: round(value, 3) for side, value in each.items()},
            "ms_beyond_the_model": {side: round(each[side] - each["model"], 3) for side in list(each)[1:]}}  # fmt: skip


def take_turns(sides: dict[str, Answer], queries: np.ndarray) -> dict[str, Any]:
    """Let each side answer turns of `TURN` queries, then some queries after pauses. The first side is the reference."""
    for answer in sides.values():
        answer(queries[0])  # warms up, and verifies what is read for the first time
    turns = [queries[start : start + TURN] for start in range(0, len(queries), TURN)]
    busy = [timed(answer, turn, 0) for turn in tqdm(turns, desc="turns") for answer in sides.values()]
    idle = [timed(answer, turn[None], PAUSE) for turn in tqdm(queries[:AFTER_PAUSE], desc="pauses")
            for answer in sides.values()]  # fmt: skip
    found = {side: [one for part in busy[place :: len(sides)] for one in part] for place, side in enumerate(sides)}
    rested = {side: [one for part in idle[place :: len(sides)] for one in part] for place, side in enumerate(sides)}
    peer = next(iter(sides))
    truth = [answer for _, answer in found[peer]]
    return {
        "answers": truth,
        "sides": {
            side: {
                **quantiles(found[side], found[peer]),
                f"after {PAUSE} s without work": quantiles(rested[side], rested[peer]),
                "recall_at_10": recall([answer for _, answer in found[side]], truth),
                "identical_lists": sum(answer == one for (_, answer), one in zip(found[side], truth, strict=True)),
            }
            for side in sides
        },
    }


def timed(answer: Answer, queries: np.ndarray, pause: float) -> list[tuple[float, list[int]]]:
    """Return the seconds and the answer of each query."""
    found = []
    for query in queries:
        time.sleep(pause)
        began = time.perf_counter()
        rows = answer(query)
        found.append((time.perf_counter() - began, rows))
    return found


def quantiles(side: list[tuple[float, list[int]]], peer: list[tuple[float, list[int]]]) -> dict[str, float]:
    """Return milliseconds, and the ratio of the medians."""
    taken, other = ([seconds for seconds, _ in part] for part in (side, peer))
    return {"p50_ms": round(1000 * statistics.median(taken), 2), "p95_ms": round(1000 * np.quantile(taken, 0.95), 2),
            "p50_to_numpy": round(statistics.median(taken) / statistics.median(other), 3)}  # fmt: skip


def by_numpy(vectors: np.ndarray, query: np.ndarray) -> list[int]:
    """Return a search by NumPy."""
    scores = vectors @ query
    best = np.argpartition(scores, len(scores) - K)[-K:]
    return best[np.argsort(-scores[best], kind="stable")].tolist()


def found_by(store: FolderStore, query: np.ndarray, request: SearchRequest) -> list[int]:
    """Return the row numbers that a gallery finds, after reading everything that a hit needs."""
    return [int(one.row.id) for one in store.search(query[None], request)[0]]


def recall(answers: list[list[int]], truth: list[list[int]]) -> float:
    """Return the mean fraction of the true rows that are found."""
    return round(float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(answers, truth, strict=True)])), 5)


def fill(folder: Path, vectors: np.ndarray, dtype: Any = "float32") -> FolderStore:
    """Make a gallery of the vectors in files of 65,536 rows, as `tbps gallery compact` leaves it."""
    dim = vectors.shape[1]
    store = FolderStore.open(folder, ModelIdentity("benchmark", "0", dim), Layout(dtype, PREFIX, PARTS, PART))
    with store.writing():
        for start in tqdm(range(0, len(vectors), 65536), desc=f"write {dtype}"):
            piece = vectors[start : start + 65536]
            rows = [
                Row(f"{start + n:032d}", f"/crops/{start + n:09d}.jpg", "{}", camera=str((start + n) % CAMERAS))
                for n in range(len(piece))
            ]
            store.append(rows, piece)
    return store


def size(folder: Path) -> int:
    """Return the bytes of all files."""
    return sum(path.stat().st_size for path in folder.iterdir())


def load_vectors(source: Path, rows: int) -> np.ndarray:
    """Load the first rows of `search_vectors.py`, (rows, E)."""
    files = sorted((source / "vectors").glob("*.npy"))
    first = np.load(files[0], mmap_mode="r")
    vectors = np.empty((rows, first.shape[1]), np.float32)
    filled = 0
    for file in files:
        piece = np.load(file)[: rows - filled]
        vectors[filled : filled + len(piece)] = piece
        filled += len(piece)
    if filled < rows:
        raise ValueError(f"{source} holds {filled} vectors of {rows}: run benchmarks/search_vectors.py to its end.")
    return vectors


def load_queries(source: Path, count: int) -> np.ndarray:
    """Load the vectors of the queries, (count, E)."""
    return np.load(source / "queries.npy")[:count]


def evaluation() -> dict[str, Any]:
    """Measure all metrics by tbps, and by ranking the full gallery for every query."""
    texts, images, ids = people_with_vectors()
    began = time.perf_counter()
    ours = retrieval_metrics(texts, images, ids, ids)
    middle = time.perf_counter()
    theirs = by_full_argsort(texts, images, ids)
    ended = time.perf_counter()
    child = subprocess.run([sys.executable, __file__, "memory"], capture_output=True, text=True, check=True)
    return {
        "queries": EVALUATED, "gallery": EVALUATED, "seconds": {"tbps": round(middle - began, 2),
                                                                "full argsort": round(ended - middle, 2)},
        "times_faster": round((ended - middle) / (middle - began), 2),
        "largest_difference": max(abs(ours[name] - value) for name, value in theirs.items()),
        "metrics": ours, **json.loads(child.stdout),
    }  # fmt: skip


def evaluation_memory() -> dict[str, float]:
    """Return the peak memory of a fresh process beyond the embeddings, in MiB."""
    texts, images, ids = people_with_vectors()
    retrieval_metrics(texts[:64], images, ids[:64], ids)  # what libraries take when they are first used
    before = peak_memory()
    retrieval_metrics(texts, images, ids, ids)
    return {"MiB_beyond_the_embeddings": round((peak_memory() - before) / MEBIBYTE)}


def people_with_vectors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Make as many people and images as ICFG-PEDES's test split, with vectors that match about as well as a good
    model's."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.arange(EVALUATED) % PEOPLE
    centres = torch.randn(PEOPLE, PREFIX + PARTS * PART, generator=generator)[ids]
    sides = [centres + 3.5 * torch.randn(centres.shape, generator=generator) for _ in range(2)]
    texts, images = (torch.nn.functional.normalize(side, dim=1) for side in sides)
    return texts, images, ids


def by_full_argsort(texts: torch.Tensor, images: torch.Tensor, ids: torch.Tensor) -> dict[str, float]:
    """Rank as research code does, but in blocks of queries: the full matrix takes 14 GiB and more."""
    first, precisions, penalties = [], [], []
    for start in range(0, len(texts), 1000):
        part = slice(start, start + 1000)
        order = torch.argsort(texts[part] @ images.T, dim=1, descending=True)
        matches = ids[order] == ids[part, None]
        counts = matches.cumsum(1)
        ranks = torch.arange(1, matches.shape[1] + 1)
        first.append(matches.float().argmax(1) + 1)
        precisions.append((matches * counts / ranks).sum(1) / counts[:, -1])
        penalties.append(counts[:, -1] / (matches * ranks).amax(1))
    ranks_1 = torch.cat(first)
    return {"rank_1": (ranks_1 <= 1).double().mean().item(), "rank_10": (ranks_1 <= 10).double().mean().item(),
            "mAP": torch.cat(precisions).mean().item(), "mINP": torch.cat(penalties).mean().item()}  # fmt: skip


if __name__ == "__main__":
    main()
