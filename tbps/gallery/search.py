"""A search of a gallery: check the options, leave out excluded people, group the hits, apply the minimum score."""

import json
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from tbps.gallery.checks import GalleryError, check_finite, check_ids, check_positive, shown
from tbps.gallery.filters import Filter, check_filter
from tbps.gallery.metadata import metadata_of
from tbps.gallery.scalars import written_alike
from tbps.gallery.store import MODES, Mode, SearchRequest, StoredHit, View

_MIN_CANDIDATES = 100
_MAX_COSINE = 1.001  # rounding can take a measured cosine slightly above 1
_FIRST_TRY = 4  # first ask for this many times the rows needed
_NOISE = 1e-9  # the cosine of a vector with itself may miss 1 by this much


@dataclass(frozen=True)
class SearchOptions:
    """
    The options of `Gallery.search`, which explains them.

    Raises:
        ValueError: an unknown mode, or a number out of range.
        TypeError: an option of another type.
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
            renamed = " 'prefix' is now 'global'." if str(self.mode) == "prefix" else ""
            raise ValueError(f"mode={shown(self.mode)}: expected one of {', '.join(MODES)}.{renamed}")
        for name, level in (("min_score", self.min_score), ("exclude_similar", self.exclude_similar)):
            if level is not None:
                check_finite(name, level)
        if self.exclude_similar is not None and abs(self.exclude_similar) > _MAX_COSINE:
            raise ValueError(f"exclude_similar={self.exclude_similar}: expected a cosine, from -1 to 1.")
        check_filter(self.where)
        for name, number in (("candidates", self.candidates), ("nprobe", self.nprobe)):
            if number is not None:
                check_positive(name, number)
        check_ids("exclude", self.exclude)


def check_k(view: View, k: int) -> None:
    """
    Refuse to search for more images than there are.

    Raises:
        ValueError, TypeError: k is out of range or not an integer.
        GalleryError: the gallery is empty.
    """
    check_positive("k", k)
    count = view.count()
    if not count:
        raise GalleryError(f"The gallery {view.where} is empty: add images before searching.")
    if k > count:
        raise ValueError(f"k={k} is more than the {count} images in the gallery: ask for at most {count}.")


def find(view: View, queries: np.ndarray, k: int, options: SearchOptions) -> list[list[StoredHit]]:
    """
    Find at most k rows for each query (Q, E) float32, best first.

    Raises:
        ValueError: a query is not finite.
        GalleryError: mode "index" without an index, or the gallery does not hold an excluded id.
    """
    for place in np.flatnonzero(~np.isfinite(queries).all(axis=1)).tolist():
        raise ValueError(
            f"query {place} holds a NaN, or a number beyond float32: expected a retrieval vector. Look for NaN or "
            "overflow in the model's embeddings."
        )
    excluded = same_person(view, options.exclude, options.exclude_similar)
    count = max(k, options.candidates or max(_MIN_CANDIDATES, 10 * k))
    request = SearchRequest(k, options.mode, count, options.nprobe, options.where, excluded)
    if options.group_by is None:
        found = view.search(queries, request)
    else:
        found = [_best_of_each_group(view, query, request, options.group_by) for query in queries]
    least = -np.inf if options.min_score is None else options.min_score
    return [[hit for hit in row if hit.score >= least] for row in found]


def _best_of_each_group(view: View, query: np.ndarray, request: SearchRequest, name: str) -> list[StoredHit]:
    """
    Find the best row for each value of a metadata name, at most `request.k`. A row without the name is its own group.

    Asks for twice as many rows each time, until there are enough groups or no more rows, so it misses nothing.
    """
    asked = _FIRST_TRY * request.k
    while True:
        more = replace(request, k=min(asked, view.count()), candidates=max(request.candidates, asked))
        found = view.search(query[None], more)[0]
        best = _first_of_each(found, name)[: request.k]
        if len(best) == request.k or len(found) < asked:
            return best
        asked *= 2


def _first_of_each(found: list[StoredHit], name: str) -> list[StoredHit]:
    first: dict[str, StoredHit] = {}
    for place, hit in enumerate(found):
        value = getattr(hit.row, name) if name in ("camera", "source") else metadata_of(hit.row).get(name)
        group = f"no value, row {place}" if value is None else json.dumps(written_alike(value), sort_keys=True)
        first.setdefault(group, hit)
    return list(first.values())


def same_person(view: View, ids: Collection[str], similarity: float | None) -> frozenset[str]:
    """
    Return some ids, and those of all images that look like them.

    Args:
        similarity: the cosine of two images' vectors from which on they count as one person; None: only `ids`.

    Raises:
        GalleryError: the gallery does not hold an id.
    """
    given = frozenset(ids)
    missing = given - view.known(sorted(given))
    if missing:
        raise GalleryError(f"exclude: no image of the gallery {view.where} has the id {shown(min(missing))}.")
    if similarity is None:
        return given
    vectors = [found.vector for found in view.get(sorted(given)) if found is not None]
    return given.union(*(_similar(view, vector, similarity) for vector in vectors))


def _similar(view: View, vector: np.ndarray, similarity: float) -> set[str]:
    asked = _FIRST_TRY
    while True:
        found = view.search(vector[None], SearchRequest(min(asked, view.count()), cosine=True))[0]
        similar = {hit.row.id for hit in found if hit.score >= similarity - _NOISE}
        if len(similar) < len(found) or len(found) < asked:
            return similar
        asked *= 2
