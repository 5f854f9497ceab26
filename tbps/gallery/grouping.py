"""Hits that a single list of best scores does not give: one of each group, none of a person already seen."""

import json
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from tbps.gallery.checks import GalleryError, shown
from tbps.gallery.metadata import metadata_of
from tbps.gallery.scalars import written_alike
from tbps.gallery.store import SearchRequest, StoredHit, View

_FIRST_TRY = 4  # times as many rows as are needed
_NOISE = 1e-9  # by which the cosine of a vector with itself may miss 1


def one_per_group(view: View, query: np.ndarray, request: SearchRequest, name: str) -> list[StoredHit]:
    """
    The best row for each value of a metadata name, at most `request.k`; rows without it stand for themselves.

    Asks for more rows, twice as many at a time, until there are enough groups or no more rows: nothing is missed.
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
    for place, one in enumerate(found):
        value = getattr(one.row, name) if name in ("camera", "source") else metadata_of(one.row).get(name)
        group = f"no value, row {place}" if value is None else json.dumps(written_alike(value), sort_keys=True)
        first.setdefault(group, one)
    return list(first.values())


def same_person(view: View, ids: Collection[str], likeness: float | None) -> frozenset[str]:
    """
    Ids of images, and of those that look like them.

    Args:
        likeness: cosine of two images' vectors from which on they are taken for one person; None: only `ids`.

    Raises:
        GalleryError: an id is not in the gallery.
    """
    given = frozenset(ids)
    missing = given - view.known(sorted(given))
    if missing:
        raise GalleryError(f"exclude: no image of the gallery {view.where} has the id {shown(min(missing))}.")
    if likeness is None:
        return given
    vectors = [found.vector for found in view.get(sorted(given)) if found is not None]
    return given.union(*(_alike(view, vector, likeness) for vector in vectors))


def _alike(view: View, vector: np.ndarray, likeness: float) -> set[str]:
    asked = _FIRST_TRY
    while True:
        found = view.search(vector[None], SearchRequest(min(asked, view.count()), cosine=True))[0]
        alike = {one.row.id for one in found if one.score >= likeness - _NOISE}
        if len(alike) < len(found) or len(found) < asked:
            return alike
        asked *= 2
