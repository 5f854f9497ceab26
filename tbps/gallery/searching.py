"""One search of a gallery, all of it in one state of its rows, whoever writes in the meantime."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from tbps.gallery.checks import GalleryError, check_finite, check_ids, check_positive, shown
from tbps.gallery.filters import Filter, check_filter
from tbps.gallery.grouping import one_per_group, same_person
from tbps.gallery.store import MODES, Mode, SearchRequest, StoredHit, View

_LEAST_CANDIDATES = 100
_LARGEST_COSINE = 1.001  # a measured one may be 1 and a little, by rounding


@dataclass(frozen=True)
class Options:
    """What a search may be given besides queries and k, as `Gallery.search_embeddings` says.

    Raises:
        ValueError: an unknown mode, a number out of range. TypeError: an option of another type.
    """

    where: Filter | None = None
    exclude: Collection[str] = ()
    exclude_similar: float | None = None
    group_by: str | None = None
    min_score: float | None = None
    mode: Mode = "exact"
    candidates: int | None = None
    nprobe: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode={shown(self.mode)}: expected one of {', '.join(MODES)}.")
        for name, level in (("min_score", self.min_score), ("exclude_similar", self.exclude_similar)):
            if level is not None:
                check_finite(name, level)
        if self.exclude_similar is not None and abs(self.exclude_similar) > _LARGEST_COSINE:
            raise ValueError(f"exclude_similar={self.exclude_similar}: expected a cosine, from -1 to 1.")
        check_filter(self.where)
        for name, number in (("candidates", self.candidates), ("nprobe", self.nprobe)):
            if number is not None:
                check_positive(name, number)
        check_ids("exclude", self.exclude)


def check_k(view: View, k: int) -> None:
    """Refuse to look for more images than there are.

    Raises:
        ValueError, TypeError: k is out of range or no whole number. GalleryError: there are no images.
    """
    check_positive("k", k)
    count = view.count()
    if not count:
        raise GalleryError(f"The gallery {view.where} is empty: add images before searching.")
    if k > count:
        raise ValueError(f"k={k} is more than the {count} images in the gallery: ask for at most {count}.")


def find(view: View, queries: np.ndarray, k: int, options: Options) -> list[list[StoredHit]]:
    """
    The best rows for each query (Q, E) float32, at most k, best first.

    Raises:
        ValueError: a query is not finite.
        GalleryError: there is no index, and one is wanted; an excluded id is not there.
    """
    for place in np.flatnonzero(~np.isfinite(queries).all(axis=1)).tolist():
        raise ValueError(
            f"query {place} holds a NaN, or a number beyond float32: expected a retrieval vector. Look for NaN or "
            "overflow in the model's embeddings."
        )
    excluded = same_person(view, options.exclude, options.exclude_similar)
    count = max(k, options.candidates or max(_LEAST_CANDIDATES, 10 * k))
    request = SearchRequest(k, options.mode, count, options.nprobe, options.where, excluded)
    if options.group_by is None:
        found = view.search(queries, request)
    else:
        found = [one_per_group(view, query, request, options.group_by) for query in queries]
    least = -np.inf if options.min_score is None else options.min_score
    return [[one for one in row if one.score >= least] for row in found]
