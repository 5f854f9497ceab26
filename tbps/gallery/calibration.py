"""Calibration: learn from a validation split which score means that nobody in the gallery matches a text query.

A gallery always has a best hit, and its score decides whether it counts as a match. How high the best of N wrong images
scores depends on N. So every caption of the split searches a gallery without the images of its own person, where the
best hit is always wrong. The threshold that a fraction `false_accept_rate` of those best scores exceeds is fitted on
random galleries of several sizes as  score + growth * ln(N / gallery_size),  which is how the maximum of N scores with
an exponential tail grows (Gumbel). Beyond the measured size it is an extrapolation.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from tbps.data.atomic_files import write_atomically
from tbps.evaluation.fingerprint import identify
from tbps.evaluation.retrieval import embed_split
from tbps.files_tbps import MAX_TEXT_BYTES, read_regular
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor

_FRACTIONS = (0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25)  # of the split's people, drawn at random: smaller galleries
_MIN_PEOPLE = 20
_MAX_NUMBER = 1e300  # of any number in a calibration


@dataclass(frozen=True)
class Calibration:
    """
    A score threshold, and how it was measured.

    Args:
        fingerprint: the fingerprint of the model.
        false_accept_rate: the fraction of searches for an absent person that still return a hit.
        gallery_size: the number of images that the threshold was measured with.
        score: the threshold for a gallery of `gallery_size` images.
        growth: how much the threshold rises when the gallery is e times as large.
        accept_rate: the fraction of captions whose own person, if present, is the best hit and above the threshold.
        same_person: the cosine similarity from which on two images count as one person. For a fraction
            `false_accept_rate` of images, the most similar image of another person reaches it.
        captions: the number of captions that this was measured with.

    Raises:
        ValueError: a value of another type, or out of range.
    """

    fingerprint: str
    false_accept_rate: float
    gallery_size: int
    score: float
    growth: float
    accept_rate: float
    same_person: float
    captions: int

    def __post_init__(self) -> None:
        kinds: dict[Any, tuple[type, ...]] = {str: (str,), int: (int,), float: (int, float)}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not isinstance(value, kinds[entry.type]) or isinstance(value, bool):
                raise ValueError(f"{entry.name}={value!r:.40}: expected {entry.type}")
            if isinstance(value, int | float) and not abs(value) < _MAX_NUMBER:  # true of NaN, too
                raise ValueError(f"{entry.name} is not finite")
        for name in ("false_accept_rate", "accept_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected a number between 0 and 1")
        if self.gallery_size < 1 or self.captions < 0:
            raise ValueError(f"gallery_size={self.gallery_size}, captions={self.captions}: expected positive numbers")

    def threshold(self, count: int) -> float:
        """Return the `min_score` for a gallery of `count` images."""
        return self.score + self.growth * float(np.log(max(1, count) / self.gallery_size))

    def save(self, path: str | Path) -> None:
        """Write the calibration as JSON."""
        write_atomically(Path(path), json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def load(cls, path: str | Path, fingerprint: str | None = None) -> "Calibration":
        """
        Read a calibration.

        Args:
            path: the JSON file.
            fingerprint: the fingerprint of the model that the calibration must belong to; None accepts any model.

        Raises:
            ValueError: the file is not a calibration, or belongs to another model.
        """
        try:
            found = cls(**json.loads(read_regular(path, MAX_TEXT_BYTES)))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path} is not a calibration ({error}): `tbps gallery calibrate` writes one.") from error
        if fingerprint is not None and found.fingerprint != fingerprint:
            raise ValueError(
                f"{path} was measured with another model (fingerprint {found.fingerprint[:12]}, here "
                f"{fingerprint[:12]}): scores of two models cannot be compared. Run "
                "`tbps gallery calibrate` with this model."
            )
        return found


def calibrate(
    model: TBPSModel,
    processor: TBPSProcessor,
    rows: datasets.Dataset,
    false_accept_rate: float = 0.05,
    *,
    batch_size: int = 64,
    seed: int = 0,
    progress: bool = True,
) -> Calibration:
    """
    Learn a threshold from a split that the model was not trained on.

    Args:
        model: the model, in eval mode. processor: its processor.
        rows: the split, with columns image, captions and person_id.
        false_accept_rate: the fraction of searches for an absent person that may still return a hit, in (0, 1).
        batch_size: the number of images or captions encoded at once.
        seed: draws the people of the smaller galleries.
        progress: show a progress bar.

    Raises:
        ValueError: a rate out of range, or fewer than 20 people.
    """
    if not 0 < false_accept_rate < 1:
        raise ValueError(f"false_accept_rate={false_accept_rate}: expected a number between 0 and 1.")
    vectors = embed_split(model, processor, rows, batch_size=batch_size, progress=progress)
    texts, images, askers, owners = (tensor.numpy() for tensor in vectors)
    people = np.unique(owners)
    if len(people) < _MIN_PEOPLE:
        raise ValueError(f"The split has {len(people)} people: expected at least {_MIN_PEOPLE} to learn from.")
    rng = np.random.default_rng(seed)
    draws = [rng.permutation(people)[: round(fraction * len(people))] for fraction in _FRACTIONS]
    galleries = [np.isin(owners, drawn) for drawn in draws]
    smaller = [_best(texts, images[some], askers, owners[some])[0] for some in galleries]
    wrong, right = _best(texts, images, askers, owners)
    alike, _ = _best(images, images, owners, owners)
    sizes = [len(owners), *(int(some.sum()) for some in galleries)]
    levels = [float(np.quantile(best, 1 - false_accept_rate)) for best in (wrong, *smaller)]
    return Calibration(
        fingerprint=identify(model, processor).fingerprint,
        false_accept_rate=false_accept_rate,
        gallery_size=len(owners),
        score=levels[0],
        growth=max(0.0, float(np.polyfit(np.log(sizes), levels, 1)[0])),
        accept_rate=float(((right >= levels[0]) & (right > wrong)).mean()),
        same_person=float(np.quantile(alike, 1 - false_accept_rate)),
        captions=len(texts),
    )


def _best(queries: np.ndarray, gallery: np.ndarray, query_person_ids: np.ndarray,
          gallery_person_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return each query's best score among the images of other people, and among those of its own person, (Q,) each."""
    wrong, right = np.empty(len(queries)), np.empty(len(queries))
    for start in range(0, len(queries), 256):
        part = slice(start, start + 256)
        scores = queries[part] @ gallery.T
        own = query_person_ids[part, None] == gallery_person_ids
        wrong[part] = np.where(own, -np.inf, scores).max(axis=1)
        right[part] = np.where(own, scores, -np.inf).max(axis=1)
    return wrong, right
