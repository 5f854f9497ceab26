"""The oracle: true commonality in place of an estimate, an upper bound that only rendered people can give.

A method with the oracle keeps every other setting. A finished run of the same seed, whose parts started from the same
numbers, says which region each part describes. Parts without a region keep the fixed margin.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import datasets
import numpy as np
import torch

from benchmarks.method.commonality import register_estimates
from benchmarks.method.regions import BODY, value
from benchmarks.method.results import is_finished, read_result
from tbps.commonality_tbps import COMMONALITY, AnchorRows
from tbps.data.toypedes import GroundTruth, read_ground_truth

REPLACED = "resembling_pair"  # the estimate that the oracle replaces


def known_parts(file: Path) -> dict[int, int]:
    """Region (index in `BODY`) -> part, of a finished run.

    Raises:
        FileNotFoundError: that run has not finished.
    """
    if not is_finished(file):
        raise FileNotFoundError(f"{file} is missing: run that method on this seed first, the oracle needs its parts.")
    measured = read_result(file)["truth"]
    return {index: measured[region.name.lower()]["part"] for index, region in enumerate(BODY)}


def codes(rows: datasets.Dataset, truth: GroundTruth, parts: dict[int, int], num_parts: int) -> torch.Tensor:
    """Number what each training person wears in the region of each part: (num_parts, P).

    Equal numbers look the same; parts without a region get -1. People are in the order of their training labels.
    """
    people = np.unique(np.asarray(rows["person_id"][:]))
    found = torch.full((num_parts, len(people)), -1)
    for region, part in parts.items():
        _, same = np.unique([value(BODY[region], truth.people[int(person)]) for person in people], return_inverse=True)
        found[part] = torch.from_numpy(same)
    return found


def oracle_of_run(file: Path, rows: datasets.Dataset, root: Path, num_parts: int) -> AbstractContextManager[None]:
    """Return `oracle_commonality` for these training rows, with the regions of the parts of the run `file`."""
    return oracle_commonality(codes(rows, read_ground_truth(root / "ToyPEDES"), known_parts(file), num_parts))


@contextmanager
def oracle_commonality(found: torch.Tensor) -> Iterator[None]:
    """Make the estimate `REPLACED` answer 1 for two people of equal `codes` and 0 for others: (K, A, B)."""

    def oracle(rows: AnchorRows) -> torch.Tensor:
        anchors, candidates = found[:, rows.anchor_ids, None], found[:, None, rows.person_ids]
        return ((anchors == candidates) & (anchors >= 0)).to(rows.anchors.dtype)

    register_estimates()
    before, COMMONALITY[REPLACED] = COMMONALITY[REPLACED], oracle
    try:
        yield
    finally:
        COMMONALITY[REPLACED] = before
