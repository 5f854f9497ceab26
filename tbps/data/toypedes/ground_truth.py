"""Read the ground truth back, render an image with changed attributes, and compute the R@1 ceiling of the captions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
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
    """The ground truth of one image. `spans` and `stated` have one entry per caption, in the order of reid_raw.json."""

    person_id: int
    camera: Camera
    spans: tuple[tuple[Span, ...], ...]
    stated: tuple[Stated, ...]


@dataclass(frozen=True)
class GroundTruth:
    """The ground truth of a data set. It is for measuring only and must never reach training."""

    seed: int
    people: dict[int, Person]
    images: dict[str, ImageTruth]  # by file path, as in reid_raw.json


def read_ground_truth(root: Path | str) -> GroundTruth:
    """Read the ground truth of the data set in `root`, the folder that holds reid_raw.json.

    Raises:
        FileNotFoundError: `root` holds no ground truth.
        ValueError: The file has a format that this version does not know.
    """
    path = Path(root) / FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist. Give the ToyPEDES folder that tbps.data.toypedes.generate wrote."
        )
    data = json.loads(path.read_text(encoding="utf-8"))
    if data.get("format") != FORMAT:
        raise ValueError(f"{path} must have format {FORMAT}, got {data.get('format')!r}. Generate the data set again.")
    return GroundTruth(
        seed=data["seed"],
        people={int(person): Person(**values) for person, values in data["people"].items()},
        images={file_path: _image_truth(entry) for file_path, entry in data["images"].items()},
    )


def rerender(truth: GroundTruth, file_path: str, **changes: str) -> tuple[Image.Image, Image.Image]:
    """Render an image and its mask again with some attributes of the person changed.

    `rerender(truth, "cam_a/0001_0.png", shoes_colour="red")` differs from the file on disk only in the shoes.

    Raises:
        KeyError: The file is not in the data set.
        TypeError, ValueError: An attribute or a value does not exist.
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


def ceiling(
    stated: Sequence[Mapping[str, Collection[str]]],
    owners: Sequence[int],
    people: Mapping[int, Mapping[str, str]],
    images: Mapping[int, int],
) -> float:
    """Compute the expected R@1 of a reader who knows every attribute of every person.

    Captions leave details out, so some match several people. The reader guesses uniformly among the images of all
    people a caption matches. A model that sees only the caption cannot be expected to do better.

    Args:
        stated: For each caption, attribute -> the values consistent with it.
        owners: For each caption, the id of the person it was written about.
        people: Person id -> attribute -> value, for every person in the gallery.
        images: Person id -> number of images in the gallery.

    Returns:
        The mean over captions of (images of the owner) / (images of all people the caption matches), in [0, 1].

    Raises:
        ValueError: There are no captions, the lists differ in length, or a caption does not match its owner.
    """
    if not stated or len(stated) != len(owners):
        raise ValueError(
            f"stated and owners must have the same length, at least 1, got {len(stated)} captions and "
            f"{len(owners)} owners."
        )
    ids = list(people)
    counts = np.array([images[person] for person in ids], dtype=np.float64)  # (P,)
    columns = {name: np.array([people[person][name] for person in ids]) for name in people[ids[0]]}
    has = defaultdict(
        lambda: np.zeros(len(ids), dtype=bool),
        {(name, str(value)): column == value for name, column in columns.items() for value in np.unique(column)},
    )  # (attribute, value) -> who has it, (P,)
    rows = {person: row for row, person in enumerate(ids)}
    shares = []
    for caption, owner in zip(stated, owners, strict=True):
        consistent = np.ones(len(ids), dtype=bool)
        for name, values in caption.items():
            consistent &= np.logical_or.reduce([has[name, value] for value in values])
        if not consistent[rows[owner]]:
            raise ValueError(f"A caption of person {owner} states {dict(caption)}, which does not match that person.")
        shares.append(counts[rows[owner]] / counts[consistent].sum())
    return float(np.mean(shares))
