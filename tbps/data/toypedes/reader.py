"""The ceiling: how well a reader does who sees every attribute of everybody, and knows only the captions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np


def ceiling(
    stated: Sequence[Mapping[str, Collection[str]]],
    owners: Sequence[int],
    people: Mapping[int, Mapping[str, str]],
    images: Mapping[int, int],
) -> float:
    """Expected R@1 of a reader who guesses uniformly among the images of the people a caption is true of.

    Captions leave details out, so that some of them are true of several people: no model that has only the caption to
    go by can be expected to do better than this.

    Args:
        stated: for each caption, attribute -> the values it leaves open.
        owners: for each caption, the id of the person it was written about.
        people: person id -> attribute -> value, everybody in the gallery.
        images: person id -> number of images in the gallery.

    Returns:
        The mean over captions of (images of the owner) / (images of all people the caption is true of), in [0, 1].

    Raises:
        ValueError: without captions, for lists of unequal length, or for a caption that is not true of its owner.
    """
    if not stated or len(stated) != len(owners):
        raise ValueError(f"{len(stated)} captions and {len(owners)} owners; expected as many of each, at least one")
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
            raise ValueError(f"a caption of person {owner} states {dict(caption)}, which is not true of that person")
        shares.append(counts[rows[owner]] / counts[consistent].sum())
    return float(np.mean(shares))
