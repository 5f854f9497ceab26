"""Where parts look: the share of their attention inside one region, the pointing game, and whether text agrees."""

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmarks.method.parts import Parts
from benchmarks.method.regions import BODY


def inside(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Share of each part's image attention inside each region, where it is seen: (K, 5); and the most that attention to
    one fixed cell reaches: (5,)."""
    shares, constant = [], []
    rows, columns = parts.image_attention.shape[2:]
    attention = parts.image_attention.numpy()
    for region in BODY:
        seen = parts.seen(region)
        masks = (parts.masks[seen] == region).astype(np.float32)
        n, height, width = masks.shape
        covered = masks.reshape(n, rows, height // rows, columns, width // columns).mean(axis=(2, 4))
        shares.append(np.einsum("nkrc,nrc->k", attention[seen], covered) / n)
        constant.append(covered.mean(axis=0).max())
    return np.stack(shares, axis=1), np.array(constant)


def areas(parts: Parts) -> np.ndarray:
    """Share of the picture that each region covers where it is seen, the chance level of a uniform attention: (5,)."""
    return np.array([(parts.masks[parts.seen(region)] == region).mean() for region in BODY])


def pointed_at(parts: Parts) -> np.ndarray:
    """(N, K) the region in the mask at the centre of the cell that a part looks at most."""
    rows, columns = parts.image_attention.shape[2:]
    peak = parts.image_attention.flatten(2).argmax(dim=-1).numpy()  # (N, K)
    cell = parts.masks.shape[1] // rows, parts.masks.shape[2] // columns
    y, x = peak // columns * cell[0] + cell[0] // 2, peak % columns * cell[1] + cell[1] // 2
    return parts.masks[np.arange(len(peak))[:, None], y, x]


def pointing(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """How often the centre of the cell that a part looks at most lies in the region's mask (no tolerance), where it is
    seen: (K, 5); and how often the best fixed pixel does: (5,)."""
    found = pointed_at(parts)
    hits = [(found[parts.seen(region)] == region).mean(axis=0) for region in BODY]
    constant = [(parts.masks[parts.seen(region)] == region).mean(axis=0).max() for region in BODY]
    return np.stack(hits, axis=1), np.array(constant)


def reads_most(parts: Parts) -> np.ndarray:
    """(K, 5): of the captions that speak of a region, the share in which part k reads its words most. Chance 1 / K."""
    reader, spoken = parts.text_reading.argmax(axis=1), parts.spoken_of()  # (N, 5) each
    count = parts.text_reading.shape[1]
    return np.stack([
        np.bincount(reader[said, region], minlength=count) / max(1, said.sum())
        for region, said in enumerate(spoken.T)
    ], axis=1)  # fmt: skip


def assign(parts: Parts) -> dict[int, int]:
    """Region (index in `BODY`) -> part: one to one, of the largest sum of the attention inside the region and of how
    often the part reads its words most. To be made on val."""
    regions, chosen = linear_sum_assignment(-(inside(parts)[0] + reads_most(parts)).T)
    return {int(region): int(part) for region, part in zip(regions, chosen, strict=True)}


def localisation(test: Parts, assignment: dict[int, int]) -> dict[str, dict[str, Any]]:
    """By region: what its part reaches on test, its chance level and the best constant answer."""
    share, share_constant = inside(test)
    hits, hits_constant = pointing(test)
    area, agreement = areas(test), reads_most(test)
    return {
        BODY[region].name.lower(): {
            "part": part,
            "inside": float(share[part, region]),
            "inside_chance": float(area[region]),
            "inside_constant": float(share_constant[region]),
            "covered": bool((share[part] / area).argmax() == region),
            "pointing": float(hits[part, region]),
            "pointing_constant": float(hits_constant[region]),
            "agreement": float(agreement[part, region]),
        }
        for region, part in assignment.items()
    }
