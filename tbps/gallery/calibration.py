"""When to say that nobody fits: thresholds learnt from people whose captions are known.

A gallery always has a best hit. Whether it is the person asked for is judged by its score, and how high the best of N
wrong images scores depends on N. Measured on a validation split: every caption is asked with the images of its own
person taken away, so that each best hit is a false one. The threshold that a share `false_accept_rate` of those best
scores passes is fitted on random galleries of several sizes as  score + growth * ln(N / gallery_size),  which is how
the maximum of N scores with an exponential tail grows (Gumbel); beyond the measured size it is an extrapolation.
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
from tbps.files_tbps import MOST_TEXT, read_regular
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor

_SHARES = (0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25)  # of the split's people, each drawn anew: smaller galleries
_FEWEST_PEOPLE = 20
_HIGHEST = 1e300  # of any number in a calibration


@dataclass(frozen=True)
class Calibration:
    """A threshold and what was measured.

    Args:
        fingerprint: of the model. false_accept_rate: share of questions for an absent person that get a hit.
        score: the threshold for a gallery of `gallery_size` images. growth: what it gains when the gallery is e times
            as large.
        accept_rate: share of captions whose own person, when there, is the best hit and above the threshold.
        same_person: likeness of two images from which on they are taken for one person: the same share of other
            people's images look as alike to an image's nearest.
        captions: the number of questions that this rests on.

    Raises:
        ValueError: a value of another type, or out of its range.
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
            if isinstance(value, int | float) and not abs(value) < _HIGHEST:  # NaN is not, either
                raise ValueError(f"{entry.name} is not finite")
        for name in ("false_accept_rate", "accept_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected a share between 0 and 1")
        if self.gallery_size < 1 or self.captions < 0:
            raise ValueError(f"gallery_size={self.gallery_size}, captions={self.captions}: expected numbers of things")

    def threshold(self, count: int) -> float:
        """`min_score` for a gallery of `count` images."""
        return self.score + self.growth * float(np.log(max(1, count) / self.gallery_size))

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        write_atomically(Path(path), json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def load(cls, path: str | Path, fingerprint: str | None = None) -> "Calibration":
        """
        Read it, and check that it is of the model with this fingerprint.

        Raises:
            ValueError: it is no calibration, or another model's.
        """
        try:
            found = cls(**json.loads(read_regular(path, MOST_TEXT)))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path} is no calibration ({error}): `tbps gallery calibrate` writes one.") from error
        if fingerprint is not None and found.fingerprint != fingerprint:
            raise ValueError(
                f"{path} was measured with another model (fingerprint {found.fingerprint[:12]}, here "
                f"{fingerprint[:12]}): scores of two models cannot be compared; calibrate this one."
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
    Learn a threshold from a split of image, captions, person_id that the model was not trained on.

    Raises:
        ValueError: a rate outside (0, 1), or fewer than 20 people.
    """
    if not 0 < false_accept_rate < 1:
        raise ValueError(f"false_accept_rate={false_accept_rate}: expected a share between 0 and 1.")
    vectors = embed_split(model, processor, rows, batch_size=batch_size, progress=progress)
    texts, images, askers, owners = (tensor.numpy() for tensor in vectors)
    people = np.unique(owners)
    if len(people) < _FEWEST_PEOPLE:
        raise ValueError(f"The split has {len(people)} people: expected at least {_FEWEST_PEOPLE} to learn from.")
    rng = np.random.default_rng(seed)
    draws = [rng.permutation(people)[: round(share * len(people))] for share in _SHARES]
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


def _best(queries: np.ndarray, gallery: np.ndarray, query_ids: np.ndarray,
          gallery_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Each query's best score among images of other people, and among its own person's, (Q,) each."""
    wrong, right = np.empty(len(queries)), np.empty(len(queries))
    for start in range(0, len(queries), 256):
        part = slice(start, start + 256)
        scores = queries[part] @ gallery.T
        own = query_ids[part, None] == gallery_ids
        wrong[part] = np.where(own, -np.inf, scores).max(axis=1)
        right[part] = np.where(own, scores, -np.inf).max(axis=1)
    return wrong, right
