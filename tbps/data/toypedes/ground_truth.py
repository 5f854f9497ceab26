"""Reading the ground truth back: who is who, which words speak of what, and how one picture would look changed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from tbps.data.toypedes.attributes import Person
from tbps.data.toypedes.camera import Camera
from tbps.data.toypedes.phrases import Stated
from tbps.data.toypedes.regions import Span
from tbps.data.toypedes.render import render

FORMAT = 1  # of attributes.json
FILE = "ground_truth/attributes.json"


@dataclass(frozen=True)
class ImageTruth:
    """What is known of one image; `spans` and `stated` have one entry a caption, in the order of reid_raw.json."""

    person_id: int
    camera: Camera
    spans: tuple[tuple[Span, ...], ...]
    stated: tuple[Stated, ...]


@dataclass(frozen=True)
class GroundTruth:
    """The ground truth of a set. For measuring only: nothing of it may reach training."""

    seed: int
    people: dict[int, Person]
    images: dict[str, ImageTruth]  # by file path, as in reid_raw.json


def read_ground_truth(root: Path | str) -> GroundTruth:
    """The ground truth of the set in the folder `root` (the one that holds reid_raw.json).

    Raises:
        FileNotFoundError: where `root` holds no ground truth.
        ValueError: for a file in a format that this version does not know.
    """
    path = Path(root) / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected a folder written by tbps.data.toypedes.generate")
    data = json.loads(path.read_text(encoding="utf-8"))
    if data.get("format") != FORMAT:
        raise ValueError(f"{path} has format {data.get('format')!r}; expected {FORMAT}: generate the set again")
    return GroundTruth(
        seed=data["seed"],
        people={int(person): Person(**values) for person, values in data["people"].items()},
        images={file_path: _image_truth(entry) for file_path, entry in data["images"].items()},
    )


def rerender(truth: GroundTruth, file_path: str, **changes: str) -> tuple[Image.Image, Image.Image]:
    """The image `file_path` and its mask once more, with some attributes of the person changed.

    `rerender(truth, "cam_a/0001_0.png", shoes_colour="red")` differs from the file on disk in the shoes alone.

    Raises:
        KeyError: for a file that is not in the set.
        TypeError, ValueError: for an attribute or a value that there is not.
    """
    image = truth.images[file_path]
    return render(replace(truth.people[image.person_id], **changes), image.camera)


def _image_truth(entry: dict[str, Any]) -> ImageTruth:
    parameters = {**entry["parameters"], "tint": tuple(entry["parameters"]["tint"])}
    return ImageTruth(
        person_id=entry["person"],
        camera=Camera(**parameters),
        spans=tuple(tuple((start, end, region) for start, end, region in c["spans"]) for c in entry["captions"]),
        stated=tuple({name: tuple(values) for name, values in c["stated"].items()} for c in entry["captions"]),
    )
