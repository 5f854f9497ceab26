"""A gallery of forty rows to damage, and the rows that remain."""

import json
from pathlib import Path

import numpy as np
from handmade_gallery import IDENTITY, layout

from tbps.gallery.folder.manifest import Manifest
from tbps.gallery.folder.store import FolderStore
from tbps.gallery.store import Row

VECTORS = np.random.default_rng(0).standard_normal((40, 16)).astype(np.float32)
ROWS = [Row(f"{n:02d}", f"/{n}.png", json.dumps({"n": n}), f"c{n % 2}", float(n)) for n in range(40)]
SIZES = (20, 12, 8)  # so different that commits do not merge them


def make(folder: Path, sizes=SIZES, model=IDENTITY) -> FolderStore:
    """Make a gallery of the first rows in files of these sizes."""
    store = FolderStore.open(folder, model, layout())
    with store.writing():
        start = 0
        for size in sizes:
            store.append(ROWS[start : start + size], VECTORS[start : start + size])
            start += size
    return store


def ids(folder: Path) -> list[str]:
    """Check the files and return the ids of all rows."""
    store = FolderStore.read(folder)
    store.check(progress=False)
    return [row.id for rows, _ in store.scan() for row in rows]


def all_but(*gone: int) -> list[str]:
    return [f"{n:02d}" for n in range(40) if n not in {3, 4, 21, 39, *gone}]


def shards(folder: Path) -> list[Path]:
    return [folder / entry.file for entry in Manifest.read(folder).shards]


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
