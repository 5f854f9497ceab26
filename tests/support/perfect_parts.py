"""Parts that know their regions perfectly, against which the measures of the method study are checked."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.method.parts import Parts
from benchmarks.method.regions import BODY, attributes, value
from tbps.data.toypedes.attributes import draw_person

K = 6  # parts 0..4 are perfect for the regions 0..4, part 5 looks at the background


def perfect_parts() -> Parts:
    """People whose part k is one vector per value of region k, and whose attention is spread over that region."""
    count, images = 40, 3
    people = [draw_person(seed=0, person=1 + i // images) for i in range(count * images)]
    rng = np.random.default_rng(0)
    masks = np.zeros((len(people), 12, 6), dtype=np.uint8)
    for mask in masks:
        top = rng.integers(0, 3)
        for region in range(5):  # two rows each, at a height that varies
            mask[top + 2 * region : top + 2 * region + 2, 2:4] = BODY[region]
        mask[:, 5] = 0
    attention = torch.stack(
        [torch.from_numpy((masks == region).astype(np.float32)) for region in [*BODY, 0]], dim=1
    )  # (N, K, 12, 6)
    attention = attention / attention.sum(dim=(2, 3), keepdim=True)
    vectors: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(0)

    def part(person: Any, region: int) -> torch.Tensor:
        key = f"{region} {value(BODY[region], person)}" if region < 5 else "same"
        return vectors.setdefault(key, F.normalize(torch.randn(64, generator=generator), dim=0))

    parts = torch.stack([torch.stack([part(person, region) for region in range(K)]) for person in people])
    stated = [{name: (getattr(p, name),) for region in BODY for name in attributes(region, p)} for p in people]
    reading = np.tile(np.eye(K)[:, :5], (len(people), 1, 1))
    return Parts(
        image_parts=parts,
        text_parts=parts,
        image_attention=attention,
        text_reading=reading,
        masks=masks.repeat(4, axis=1).repeat(4, axis=2),
        person_ids=torch.arange(len(people)) // images,
        people=people,
        stated=stated,
        file_paths=[""] * len(people),
    )
