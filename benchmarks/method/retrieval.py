"""Retrieval by the global part alone, by the parts alone, and by the whole vector for every weight of the parts."""

import torch

from tbps import TBPSModel
from tbps.evaluation import SplitVectors
from tbps.metrics import RetrievalMetrics

WEIGHTS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)  # part weights w, of which val chooses one
KEPT = ("rank_1", "rank_5", "mAP")


def scores(model: TBPSModel, vectors: SplitVectors) -> tuple[torch.Tensor, torch.Tensor]:
    """(T, I) scores by the global embeddings, and by the parts with the sentence's weights of them."""
    width, weight = model.config.projection_dim, model.config.part_weight
    by_global = vectors.texts[:, :width] @ vectors.images[:, :width].T / (1 - weight)
    by_parts = vectors.texts[:, width:] @ vectors.images[:, width:].T
    return by_global, by_parts / weight if weight else by_parts


def metrics(matrix: torch.Tensor, vectors: SplitVectors) -> dict[str, float]:
    """R@1, R@5 and mAP of a score matrix (T, I), in [0, 1]."""
    found = RetrievalMetrics(vectors.gallery_ids)
    for rows, ids in zip(matrix.split(1000), vectors.query_ids.split(1000), strict=True):
        found.update(rows, ids)
    computed = found.compute()
    return {name: computed[name] for name in KEPT}


def measure(model: TBPSModel, val: SplitVectors, test: SplitVectors) -> dict[str, object]:
    """What each way to rank reaches; the weight of the parts is the best one on val."""
    val_global, val_parts = scores(model, val)
    test_global, test_parts = scores(model, test)
    result: dict[str, object] = {
        "val": {"global": metrics(val_global, val)},
        "test": {"global": metrics(test_global, test)},
    }
    if not model.config.part_weight:
        return result
    by_weight = {w: metrics((1 - w) * val_global + w * val_parts, val) for w in WEIGHTS}
    best = max(WEIGHTS, key=lambda w: by_weight[w]["rank_1"])
    result["part_weight"] = best
    result["val"] |= {"parts": metrics(val_parts, val), "whole": by_weight[best]}  # type: ignore[operator]
    result["test"] |= {  # type: ignore[operator]
        "parts": metrics(test_parts, test),
        "whole": metrics((1 - best) * test_global + best * test_parts, test),
    }
    return result
