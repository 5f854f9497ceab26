"""What loader processes are reading, and what they left out: notes in memory that all of them share.

Which pairs stand in for one whose image cannot be read.

Training samples that could not be read and were skipped: counted over all processes, and logged.
"""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from transformers.utils import logging

PLACES = 1024  # far more than loader processes
DEAD = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")  # how torch begins to tell of it


class WorkerLog:
    """One note a loader process, and one counter a pair: each is written by one process at a time, so without locks."""

    def __init__(self, pairs: int) -> None:
        self.reading = torch.full((PLACES, 2), -1, dtype=torch.int64).share_memory_()  # process id, row
        self.skips = torch.zeros(pairs, dtype=torch.uint8).share_memory_()

    def begin(self, row: int) -> None:
        """Note that this process now reads a row."""
        worker = torch.utils.data.get_worker_info()
        if worker is not None:
            self.reading[worker.id % PLACES] = torch.tensor([os.getpid(), row])

    def count_skipped(self, pair: int) -> None:
        """Count a pair that could not be read."""
        self.skips[pair] += 1

    def take_skipped(self) -> list[int]:
        """The pairs left out since the last call, in order."""
        pairs = self.skips.nonzero()[:, 0].tolist()
        self.skips.zero_()
        return pairs

    def rows_read_by(self, processes: Sequence[int]) -> list[int]:
        """The rows that these processes read last."""
        notes = self.reading.tolist()
        return [row for process, row in notes if process in processes]


@contextmanager
def explain_dead_workers(pairs: Any) -> Iterator[None]:
    """Let an error that says no more than that a loader process died also say which file it was reading.

    Args:
        pairs: `PersonPairs` that the loader reads; anything else adds nothing.
    """
    try:
        yield
    except RuntimeError as error:
        dead = DEAD.search(str(error))
        if dead is None or not hasattr(pairs, "worker_log"):
            raise
        rows = pairs.worker_log.rows_read_by([int(number) for number in dead[1].split(",")])
        names = ", ".join(map(pairs.images.name, rows)) or "no file yet"
        raise RuntimeError(
            f"{error} It was reading {names}. Killed: memory ran out, take fewer dataloader_num_workers or smaller "
            "batches. A fault at the same file again: open it alone, and leave it out."
        ) from error


MOST_OTHERS = 100  # people tried before the data set itself is called unreadable
DRAW = 1  # keeps these draws apart from those of the augmentation


def replacements(person_ids: np.ndarray, pair: int, taken: Collection[int], key: tuple[int, int]) -> Iterator[int]:
    """Pairs of the same person in random order, then of other people who are not in the batch.

    The first keep a batch as the sampler made it, on all processes and without asking them: as many pairs, of the same
    people, none of them twice.

    Args:
        person_ids: (pairs,) of all. taken: pairs of this process's batch. key: (seed, epoch), which with the pair
            decide the order.
    """
    rng = np.random.default_rng([*key, pair, DRAW])
    same = np.flatnonzero(person_ids == person_ids[pair])
    yield from (int(other) for other in rng.permutation(same) if other not in taken)
    people = {int(person_ids[other]) for other in taken}
    for other in rng.integers(0, len(person_ids), size=MOST_OTHERS):
        if int(person_ids[other]) not in people:
            yield int(other)


logger = logging.get_logger(__name__)

NAMED = 10  # files of those skipped that are named


def gather_skipped(own: list[str]) -> dict[str, Any]:
    """What a log says of the files that each process skipped, nothing where there are none; all processes call this.

    Returns:
        skipped_samples: their number. skipped_files: the first of them.
    """
    skipped = gather_object(own)
    if not skipped:
        return {}
    names = list(dict.fromkeys(skipped))[:NAMED]
    logger.warning(f"{len(skipped)} training samples could not be read and were skipped: {', '.join(names)}")
    return {"skipped_samples": len(skipped), "skipped_files": names}
