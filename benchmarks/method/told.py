"""What a rightly lowered margin is worth: the truth in place of an estimate, which only rendered people have.

A contender that is told keeps all settings but this one. What a part is about is taken from a finished run of the same
seed, whose parts started from the same numbers; parts that are assigned to no region keep the fixed margin.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import datasets
import numpy as np
import torch

from benchmarks.method.regions import BODY, value
from benchmarks.method.results import read_result
from tbps.commonality_tbps import COMMONALITY, AnchorRows
from tbps.toypedes import GroundTruth, read_ground_truth

REPLACED = "resembling_pair"  # the estimate in whose place the truth answers


def known_parts(file: Path) -> dict[int, int]:
    """Region (index in `BODY`) -> part, of a finished run.

    Raises:
        FileNotFoundError: it has not finished: a contender that is told needs it first.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing: run that contender on this seed first, its parts' regions are told."
        )
    measured = read_result(file)["truth"]
    return {index: measured[region.name.lower()]["part"] for index, region in enumerate(BODY)}


def codes(rows: datasets.Dataset, truth: GroundTruth, parts: dict[int, int], num_parts: int) -> torch.Tensor:
    """(num_parts, P) numbers of what each training person has where the part is assigned to, equal for those who look
    the same there; -1 for parts of no region. People in the order of the labels that they are trained under."""
    people = np.unique(np.asarray(rows["person_id"][:]))
    found = torch.full((num_parts, len(people)), -1)
    for region, part in parts.items():
        _, same = np.unique([value(BODY[region], truth.people[int(person)]) for person in people], return_inverse=True)
        found[part] = torch.from_numpy(same)
    return found


def told_by_run(file: Path, rows: datasets.Dataset, root: Path, num_parts: int) -> AbstractContextManager[None]:
    """`told_commonality` of the training rows of a data root, with the regions of that run's parts."""
    return told_commonality(codes(rows, read_ground_truth(root / "ToyPEDES"), known_parts(file), num_parts))


@contextmanager
def told_commonality(found: torch.Tensor) -> Iterator[None]:
    """While it lasts, `REPLACED` is 1 for two people of equal `codes` and 0 for others: (K, A, B)."""

    def told(rows: AnchorRows) -> torch.Tensor:
        anchors, candidates = found[:, rows.anchor_ids, None], found[:, None, rows.person_ids]
        return ((anchors == candidates) & (anchors >= 0)).to(rows.anchors.dtype)

    before, COMMONALITY[REPLACED] = COMMONALITY[REPLACED], told
    try:
        yield
    finally:
        COMMONALITY[REPLACED] = before
