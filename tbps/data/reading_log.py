"""What loader processes are reading, and what they left out: notes in memory that all of them share."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

PLACES = 1024  # far more than loader processes
DEAD = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")  # how torch begins to tell of it


class ReadingLog:
    """One note a loader process, and one counter a pair: each is written by one process at a time, so without locks."""

    def __init__(self, pairs: int) -> None:
        self.reading = torch.full((PLACES, 2), -1, dtype=torch.int64).share_memory_()  # process id, row
        self.left_out = torch.zeros(pairs, dtype=torch.uint8).share_memory_()

    def begin(self, row: int) -> None:
        """Note that this process now reads a row."""
        worker = torch.utils.data.get_worker_info()
        if worker is not None:
            self.reading[worker.id % PLACES] = torch.tensor([os.getpid(), row])

    def leave_out(self, pair: int) -> None:
        """Count a pair that could not be read."""
        self.left_out[pair] += 1

    def take_left_out(self) -> list[int]:
        """The pairs left out since the last call, in order."""
        pairs = self.left_out.nonzero()[:, 0].tolist()
        self.left_out.zero_()
        return pairs

    def rows_of(self, processes: Sequence[int]) -> list[int]:
        """The rows that these processes read last."""
        notes = self.reading.tolist()
        return [row for process, row in notes if process in processes]


@contextmanager
def dead_workers_named(pairs: Any) -> Iterator[None]:
    """Let an error that says no more than that a loader process died also say which file it was reading.

    Args:
        pairs: `PersonPairs` that the loader reads; anything else adds nothing.
    """
    try:
        yield
    except RuntimeError as error:
        dead = DEAD.search(str(error))
        if dead is None or not hasattr(pairs, "reading_log"):
            raise
        rows = pairs.reading_log.rows_of([int(number) for number in dead[1].split(",")])
        names = ", ".join(map(pairs.images.name, rows)) or "no file yet"
        raise RuntimeError(
            f"{error} It was reading {names}. Killed: memory ran out, take fewer dataloader_num_workers or smaller "
            "batches. A fault at the same file again: open it alone, and leave it out."
        ) from error
