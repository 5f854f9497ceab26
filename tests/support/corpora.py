"""Small corpora in the four formats, with real pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tbps.data.corpora.writer import write_corpus

SENTENCE = "a person with a {} coat, number {}"
COLOURS = ("red", "blue", "green", "black", "white", "yellow")
IMAGES, ROWS = 58, 9  # of `write_shards`: seven shards, the last of four rows


def write_images(folder: Path, count: int) -> list[str]:
    """`count` JPEG files in two sub-folders; returns their paths below `folder`."""
    rng = np.random.default_rng(0)
    names = [f"part{number % 2}/{number:04d}.jpg" for number in range(count)]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 20, 3), dtype=np.uint8)).save(folder / name)
    return names


def sentence(number: int) -> str:
    return SENTENCE.format(COLOURS[number % 6], number)


def entries(name: str, paths: list[str]) -> Any:
    """The content of a corpus's JSON file."""
    if name == "mals":
        return [
            {"image": path, "caption": sentence(i), "image_id": f"p{i // 2}", "label": [0] * 27}
            for i, path in enumerate(paths)
        ]
    if name == "synth-pedes":
        return [
            {"id": 100 + i // 2, "file_path": path, "attributes": ["coat", 0.5], "prompt_caption": "x",
             "captions": [sentence(i), sentence(i) + " again"]}
            for i, path in enumerate(paths)
        ]  # fmt: skip
    if name == "luperson-mllm":
        return {path: sentence(i) for i, path in enumerate(paths)}
    return [{path: {"caption1": sentence(i), "caption2": sentence(i) + " again"}} for i, path in enumerate(paths)]


def write_source(folder: Path, name: str, count: int) -> Path:
    """A corpus of `count` images on disk; returns its JSON file, which lies beside the images."""
    source = folder / f"{name}.json"
    paths = write_images(folder, count)
    source.write_text(json.dumps(entries(name, paths)))
    return source


def write_shards(where: Path) -> Path:
    """Make the shards of a corpus of `IMAGES` images, and return their folder."""
    source = write_source(where / "raw", "synth-pedes", IMAGES)
    write_corpus("synth-pedes", [source], where / "shards", source.parent, entries_per_shard=ROWS, progress=False)
    return where / "shards"


def copied(folder: Path, to: Path) -> Path:
    to.mkdir(parents=True)
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to
