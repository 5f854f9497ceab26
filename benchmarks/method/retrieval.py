"""Retrieval by the global embedding, by the parts, and by the whole vector at every part weight."""

from typing import Any

import torch

from tbps import TBPSModel
from tbps.evaluation.metrics import RetrievalMetrics
from tbps.evaluation.retrieval import SplitVectors

WEIGHTS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # part weights w; val chooses one
KEPT = ("rank_1", "rank_5", "mAP")


def scores(model: TBPSModel, vectors: SplitVectors) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the scores (T, I) by the global embeddings, and by the parts with the weights of each text."""
    width, weight = model.config.projection_dim, model.config.part_weight
    by_global = vectors.texts[:, :width] @ vectors.images[:, :width].T / (1 - weight)
    by_parts = vectors.texts[:, width:] @ vectors.images[:, width:].T
    return by_global, by_parts / weight if weight else by_parts


def metrics(matrix: torch.Tensor, vectors: SplitVectors) -> dict[str, float]:
    """Compute R@1, R@5 and mAP of a score matrix (T, I), in [0, 1]."""
    found = RetrievalMetrics(vectors.gallery_person_ids)
    for rows, ids in zip(matrix.split(1000), vectors.query_person_ids.split(1000), strict=True):
        found.update(rows, ids)
    computed = found.compute()
    return {name: computed[name] for name in KEPT}


def measure(model: TBPSModel, splits: dict[str, SplitVectors]) -> dict[str, Any]:
    """Measure each way to rank on each split, with the part weight that is best on "val".

    Returns:
        split -> way -> metric, "part_weight", and "by_part_weight": weight -> split -> R@1 of the whole vector.
    """
    scored = {name: scores(model, vectors) for name, vectors in splits.items()}
    result: dict[str, Any] = {name: {"global": metrics(scored[name][0], splits[name])} for name in splits}
    if not model.config.part_weight:
        return result
    weighed = {
        weight: {name: metrics(whole(*scored[name], weight), splits[name]) for name in splits} for weight in WEIGHTS
    }
    best = max(WEIGHTS, key=lambda weight: weighed[weight]["val"]["rank_1"])
    for name, (_, by_parts) in scored.items():
        result[name] |= {"parts": metrics(by_parts, splits[name]), "whole": weighed[best][name]}
    ranks = {str(weight): {name: found["rank_1"] for name, found in ways.items()} for weight, ways in weighed.items()}
    return result | {"part_weight": best, "by_part_weight": ranks}


def whole(by_global: torch.Tensor, by_parts: torch.Tensor, weight: float) -> torch.Tensor:
    """Return the scores of the whole vector with this part weight."""
    return (1 - weight) * by_global + weight * by_parts
