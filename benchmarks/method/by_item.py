"""Measures item by item (backpack, handbag, coat): the part of a region may know some of its items and miss others."""

from typing import Any

import numpy as np

from benchmarks.method.localisation import pointed_at
from benchmarks.method.parts import Parts
from benchmarks.method.regions import BODY, ITEM
from tbps.data.toypedes.attributes import NONE


def by_item(test: Parts, assignment: dict[int, int]) -> dict[int, dict[str, dict[str, Any]]]:
    """Measure each item that some image shows and some caption mentions. The head has no single item.

    Returns:
        region -> item -> `images` that show it; `pointing`, the fraction of these in which the region's part points at
        it; `captions` that mention it; `readers` (K,), the fraction of these in which each part reads the region's
        words most.
    """
    found: dict[int, dict[str, dict[str, Any]]] = {}
    pointed, readers, spoken = pointed_at(test), test.text_reading.argmax(axis=1), test.spoken_of()
    for region, part in assignment.items():
        if BODY[region] not in ITEM:
            continue
        worn = np.array([getattr(person, ITEM[BODY[region]]) for person in test.people])
        seen = test.seen(BODY[region])
        found[region] = {
            item: {
                "images": int(shown.sum()),
                "pointing": float((pointed[shown, part] == BODY[region]).mean()),
                "captions": int(said.sum()),
                "readers": (np.bincount(readers[said, region], minlength=pointed.shape[1]) / said.sum()).tolist(),
            }
            for item in sorted(set(worn) - {NONE})
            if (shown := seen & (worn == item)).any() and (said := spoken[:, region] & (worn == item)).any()
        }
    return found
