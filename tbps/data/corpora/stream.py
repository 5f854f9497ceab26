"""An endless stream of corpus rows in random order that can resume from any position."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import datasets
import numpy as np

from tbps.data.corpora.corpus import reader_rows
from tbps.data.corpora.index import CorpusError


@dataclass(frozen=True)
class ReaderPosition:
    """How far a reader has come. Training checkpoints store these fields by name.

    Attributes:
        window: The number of the current window in this epoch.
        given: How many rows of this window were already yielded.
        shards: `IterableDataset.state_dict()` at the first row of the window; None at the start of an epoch.
    """

    epoch: int = 0
    window: int = 0
    given: int = 0
    shards: dict[str, Any] | None = field(default=None, repr=False)


TRAINING_START = ReaderPosition()


def endless_rows(
    rows: datasets.IterableDataset,
    reader: int,
    readers: int,
    seed: int,
    buffer: int,
    position: ReaderPosition = TRAINING_START,
) -> Iterator[tuple[dict[str, Any], ReaderPosition]]:
    """Yield the rows of one reader, epoch after epoch, each row of its shards once per epoch.

    (seed, epoch) determines the order of the shards and their assignment to readers. Consecutive rows form a window of
    `buffer` rows, which are yielded in an order drawn from (seed, epoch, reader, window). A position therefore
    determines all later rows. A reader that resumes reads its window again and passes over the rows already yielded,
    so no row is lost. (The buffer of `IterableDataset.shuffle` loses the rows that it holds.)

    Args:
        rows: The rows of a corpus, from `Corpus.rows`.
        reader: The number of this reader, from 0.
        readers: The number of all readers.
        position: The position to resume from.

    Yields:
        A row, and the position after it.

    Raises:
        CorpusError: A shard cannot be read, or an epoch has no rows and the loop would never end.
    """
    own = reader_rows(rows, reader, readers)
    if position.shards is not None:
        own.load_state_dict(position.shards)
    window, given, shards = position.window, position.given, position.shards
    for epoch in count(position.epoch):
        own.set_epoch(shard_order(seed, epoch))  # drops the state of another epoch
        empty = True
        for table in own.iter(buffer):
            empty = False
            order = np.random.default_rng([seed, epoch, reader, window]).permutation(len(table))
            for number in range(given, len(table)):
                row = table.slice(int(order[number]), 1).to_pylist()[0]
                yield row, ReaderPosition(epoch, window, number + 1, shards)
            window, given, shards = window + 1, 0, own.state_dict()
        if empty:
            raise CorpusError(
                f"Reader {reader} of {readers} found no row in epoch {epoch}. Does the checkpoint belong to another "
                "corpus, or have its shards changed? Run `tbps data verify`."
            )
        window, shards = 0, None


def shard_order(seed: int, epoch: int) -> int:
    """Draw the argument of `IterableDataset.set_epoch`, which orders the shards. Never 0, the order on disk."""
    drawn = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    return int(drawn >> 2) + 1
