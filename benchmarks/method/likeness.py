"""What parts know about likeness: commonality against its true value, false negatives, repainted people."""

import numpy as np
import torch
from scipy.stats import mannwhitneyu, spearmanr

from benchmarks.method.parts import IMAGES_A_PERSON, Parts, image_batch
from benchmarks.method.regions import BODY, REPAINTED, is_stated, value
from tbps import TBPSModel, TBPSProcessor
from tbps.commonality_tbps import COMMONALITY, AnchorRows, Estimate, positive_cosine
from tbps.data.toypedes import GroundTruth, rerender
from tbps.data.toypedes.attributes import NONE, VALUES

BATCH = 128  # people at a time, as in training
REPAINTED_IMAGES = 150


def commonality_correlation(
    test: Parts, assignment: dict[int, int], estimate: str, among: int = BATCH
) -> dict[int, float]:
    """Correlate an estimate of commonality with the truth by Spearman, for each assigned region.

    The truth is the fraction of the other test people who have the same value there. The estimate is the mean for the
    text and the image anchor, in groups of `among` people with one image each (BATCH as in training). Only people whose
    caption states item and colour count. A constant answer has correlation 0.
    """
    one = np.arange(0, len(test.people), IMAGES_A_PERSON)
    text, image, ids = test.text_parts[one], test.image_parts[one], test.person_ids[one]
    common = torch.cat([
        (anchored(COMMONALITY[estimate], t, i, p) + anchored(COMMONALITY[estimate], i, t, p)) / 2
        for t, i, p in zip(text.split(among), image.split(among), ids.split(among), strict=True)
    ], dim=1).numpy()  # fmt: skip
    return {region: with_true_share(test, region, common[part]) for region, part in assignment.items()}


def sampled_share_correlation(test: Parts, among: int = BATCH) -> dict[int, float]:
    """Correlate the true fraction within the group with that of the test set: the upper bound of an estimate that sees
    only the group. Of 128 people two or three wear a jacket of one colour, or by chance none."""
    one = np.arange(0, len(test.people), IMAGES_A_PERSON)
    found = {}
    for region in range(len(BODY)):
        groups = np.split(values_of(test, region)[one], range(among, len(one), among))
        found[region] = with_true_share(test, region, np.concatenate([share_of_others(group) for group in groups]))
    return found


def values_of(test: Parts, region: int) -> np.ndarray:
    """Return the value of each image's person in the region, (N,)."""
    return np.array([value(BODY[region], person) for person in test.people])


def share_of_others(values: np.ndarray) -> np.ndarray:
    """Return the fraction of the others with the same value, (n,)."""
    return ((values[:, None] == values[None, :]).sum(axis=1) - 1) / max(1, len(values) - 1)


def with_true_share(test: Parts, region: int, common: np.ndarray) -> float:
    """Correlate an answer for each person (people,) with the true fraction among all people of `test`."""
    one = np.arange(0, len(test.people), IMAGES_A_PERSON)
    said = np.array([is_stated(BODY[region], test.people[i], test.stated[i]) for i in one])
    return rank_correlation(common[said], share_of_others(values_of(test, region)[one])[said])


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Spearman's correlation; 0 if either side is constant."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)


def anchored(estimate: Estimate, anchors: torch.Tensor, candidates: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the commonality (K, B) of anchors (B, K, d) among candidates (B, K, d); pairwise ones are averaged."""
    mean = positive_cosine(anchors, candidates, ids).mean(dim=1)
    rows = AnchorRows(anchors, candidates, anchors, candidates, ids, ids, mean)
    common = estimate(rows)
    return rows.mean_vote(common) if common.ndim == 3 else common


def false_negative_auc(test: Parts, assignment: dict[int, int], captions: int = 600) -> dict[int, float]:
    """Return the AUC of the part's cosine between a caption and images of other people: positive pairs are those whose
    person has the value that the caption states. Chance is 0.5."""
    found = {}
    for region, part in assignment.items():
        values = values_of(test, region)
        said = [i for i, person in enumerate(test.people) if is_stated(BODY[region], person, test.stated[i])][:captions]
        cosine = (test.text_parts[said, part] @ test.image_parts[:, part].T).numpy()
        other = (test.person_ids[said][:, None] != test.person_ids[None, :]).numpy()
        same = (values[said][:, None] == values[None, :])[other]
        scores = cosine[other]
        found[region] = area_under_curve(scores[same], scores[~same])
    return found


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the probability that a positive scores above a negative, ties counting half; NaN without either."""
    if not len(positive) or not len(negative):
        return float("nan")
    return float(mannwhitneyu(positive, negative).statistic) / (len(positive) * len(negative))


@torch.no_grad()
def counterfactual(
    model: TBPSModel, processor: TBPSProcessor, test: Parts, assignment: dict[int, int], truth: GroundTruth
) -> dict[int, float]:
    """Repaint each region in another colour and return the fraction of images in which its part moves most, by cosine.
    Chance is 1/K."""
    found = {}
    for region, part in assignment.items():
        attribute = REPAINTED[BODY[region]]
        seen = test.seen(BODY[region])
        rows = [i for i, p in enumerate(test.people) if seen[i] and getattr(p, attribute) != NONE][:REPAINTED_IMAGES]
        rng = np.random.default_rng(region)
        repainted = []
        for i in rows:
            others = [c for c in VALUES[attribute] if c not in (NONE, getattr(test.people[i], attribute))]
            repainted.append(rerender(truth, test.file_paths[i], **{attribute: str(rng.choice(others))})[0])
        after, _ = image_batch(model, processor, repainted)
        moved = 1 - (after * test.image_parts[rows]).sum(dim=-1)  # (n, K)
        found[region] = float((moved.argmax(dim=1) == part).float().mean())
    return found
