"""Training samples that cannot be read: name the file that killed a loader process, replace a sample, report skips."""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from transformers.utils import logging

logger = logging.get_logger(__name__)

MAX_WORKERS = 1024  # far more than there are loader processes
DEAD_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")  # the start of the message of torch
MAX_TRIES = 100  # other people tried before the data set counts as unreadable
REPLACEMENT_KEY = 1  # separates these random draws from those of the augmentation
MAX_NAMES = 10  # skipped files that a log names


class WorkerLog:
    """Shared memory in which loader processes note the row they are reading, and count the pairs they skip.

    Each entry has a single writer at a time, so no locks are needed.

    Args:
        pairs: The number of training pairs.
    """

    def __init__(self, pairs: int) -> None:
        self.reading = torch.full((MAX_WORKERS, 2), -1, dtype=torch.int64).share_memory_()  # process id, row
        self.skips = torch.zeros(pairs, dtype=torch.uint8).share_memory_()

    def begin(self, row: int) -> None:
        """Note that this loader process starts to read a row."""
        worker = torch.utils.data.get_worker_info()
        if worker is not None:
            self.reading[worker.id % MAX_WORKERS] = torch.tensor([os.getpid(), row])

    def count_skipped(self, pair: int) -> None:
        """Count a pair that could not be read."""
        self.skips[pair] += 1

    def take_skipped(self) -> list[int]:
        """Return the pairs skipped since the last call, in order, and reset the counters."""
        pairs = self.skips.nonzero()[:, 0].tolist()
        self.skips.zero_()
        return pairs

    def rows_read_by(self, processes: Sequence[int]) -> list[int]:
        """The rows that the processes with these ids read last."""
        notes = self.reading.tolist()
        return [row for process, row in notes if process in processes]


@contextmanager
def explain_dead_workers(pairs: Any) -> Iterator[None]:
    """Add the file that a loader process was reading to an error that only says that the process died.

    Args:
        pairs: The `PersonPairs` that the loader reads. Errors for any other data set do not change.
    """
    try:
        yield
    except RuntimeError as error:
        dead = DEAD_WORKER.search(str(error))
        if dead is None or not hasattr(pairs, "worker_log"):
            raise
        rows = pairs.worker_log.rows_read_by([int(number) for number in dead[1].split(",")])
        names = ", ".join(map(pairs.images.name, rows)) or "no file yet"
        raise RuntimeError(
            f"{error} It was reading {names}. If it was killed, memory ran out: use fewer dataloader_num_workers or "
            "smaller batches. If it fails at the same file again, open that file alone, and remove it."
        ) from error


def replacements(person_ids: np.ndarray, pair: int, taken: Collection[int], key: tuple[int, int]) -> Iterator[int]:
    """Yield pairs that can replace an unreadable one: other pairs of the person first, then pairs of other people.

    A pair of the same person keeps the batch as the sampler planned it: same size, same people, no pair twice. No
    communication between processes is needed. People who are already in the batch are not used.

    Args:
        person_ids: (pairs,), the person of each pair.
        pair: The unreadable pair.
        taken: The pairs in the batch of this process.
        key: (seed, epoch). Together with the pair it determines the random order.
    """
    rng = np.random.default_rng([*key, pair, REPLACEMENT_KEY])
    same = np.flatnonzero(person_ids == person_ids[pair])
    yield from (int(other) for other in rng.permutation(same) if other not in taken)
    people = {int(person_ids[other]) for other in taken}
    for other in rng.integers(0, len(person_ids), size=MAX_TRIES):
        if int(person_ids[other]) not in people:
            yield int(other)


def gather_skipped(own: list[str]) -> dict[str, Any]:
    """Gather the files that each process skipped, warn about them, and return log entries. All processes must call it.

    Returns:
        skipped_samples, their number, and skipped_files, the first of them; an empty dict if there are none.
    """
    skipped = gather_object(own)
    if not skipped:
        return {}
    names = list(dict.fromkeys(skipped))[:MAX_NAMES]
    logger.warning(f"{len(skipped)} training samples could not be read and were skipped: {', '.join(names)}")
    return {"skipped_samples": len(skipped), "skipped_files": names}
