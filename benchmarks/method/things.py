"""What becomes of single things: one region's part may know some of them and another part others, by their place."""

from typing import Any

import numpy as np

from benchmarks.method.localisation import pointed_at
from benchmarks.method.parts import Parts
from benchmarks.method.regions import BODY, THING
from tbps.toypedes.attributes import NONE


def by_thing(test: Parts, assignment: dict[int, int]) -> dict[int, dict[str, dict[str, Any]]]:
    """Region -> thing worn there (such as a backpack) -> `images` that show it, the share of these in which the
    region's part points at it, `captions` that speak of it, and the share of these in which each part reads the
    region's words most: `readers` (K,). Only what is both shown and spoken of is listed; a head has no one thing."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    pointed, readers, spoken = pointed_at(test), test.text_reading.argmax(axis=1), test.spoken_of()
    for region, part in assignment.items():
        if BODY[region] not in THING:
            continue
        worn = np.array([getattr(person, THING[BODY[region]]) for person in test.people])
        seen = test.seen(BODY[region])
        found[region] = {
            thing: {
                "images": int(shown.sum()),
                "pointing": float((pointed[shown, part] == BODY[region]).mean()),
                "captions": int(said.sum()),
                "readers": (np.bincount(readers[said, region], minlength=pointed.shape[1]) / said.sum()).tolist(),
            }
            for thing in sorted(set(worn) - {NONE})
            if (shown := seen & (worn == thing)).any() and (said := spoken[:, region] & (worn == thing)).any()
        }
    return found
