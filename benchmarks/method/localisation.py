"""Where parts look: attention inside a region, the pointing game, and agreement between image and text."""

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmarks.method.parts import Parts
from benchmarks.method.regions import BODY


def inside(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Return the fraction of each part's attention inside each region where it is visible, (K, 5), and the best that
    attention to one fixed cell reaches, (5,)."""
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
    """Return the fraction of the image that each visible region covers, (5,): the chance level of uniform attention."""
    return np.array([(parts.masks[parts.seen(region)] == region).mean() for region in BODY])


def pointed_at(parts: Parts) -> np.ndarray:
    """Return the region at the centre of the cell with the most attention, (N, K)."""
    rows, columns = parts.image_attention.shape[2:]
    peak = parts.image_attention.flatten(2).argmax(dim=-1).numpy()  # (N, K)
    cell = parts.masks.shape[1] // rows, parts.masks.shape[2] // columns
    y, x = peak // columns * cell[0] + cell[0] // 2, peak % columns * cell[1] + cell[1] // 2
    return parts.masks[np.arange(len(peak))[:, None], y, x]


def pointing(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Return how often that centre lies in the mask of each visible region, without tolerance, (K, 5), and how often
    the best fixed pixel does, (5,)."""
    found = pointed_at(parts)
    hits = [(found[parts.seen(region)] == region).mean(axis=0) for region in BODY]
    constant = [(parts.masks[parts.seen(region)] == region).mean(axis=0).max() for region in BODY]
    return np.stack(hits, axis=1), np.array(constant)


def reads_most(parts: Parts) -> np.ndarray:
    """Return the fraction of the captions that mention a region in which part k reads its words most: (K, 5). Chance
    is 1/K."""
    reader, spoken = parts.text_reading.argmax(axis=1), parts.spoken_of()  # (N, 5) each
    count = parts.text_reading.shape[1]
    return np.stack([
        np.bincount(reader[said, region], minlength=count) / max(1, said.sum())
        for region, said in enumerate(spoken.T)
    ], axis=1)  # fmt: skip


def assign(parts: Parts) -> dict[int, int]:
    """Assign one part to each region (index in `BODY`). The assignment maximises the sum of the attention inside the
    region and of how often the part reads its words most. Use val."""
    regions, chosen = linear_sum_assignment(-(inside(parts)[0] + reads_most(parts)).T)
    return {int(region): int(part) for region, part in zip(regions, chosen, strict=True)}


def localisation(test: Parts, assignment: dict[int, int]) -> dict[str, dict[str, Any]]:
    """Measure each region's part on test, with the chance level and the best constant answer."""
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
