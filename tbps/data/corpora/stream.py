"""Rows of a corpus in random order and without end, from any place on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import datasets
import numpy as np

from tbps.data.corpora.corpus import share
from tbps.data.corpora.index import CorpusError


@dataclass(frozen=True)
class ReaderPosition:
    """How far a reader has come: so many rows of a window are given.

    Attributes:
        shards: `IterableDataset.state_dict()` at the window's first row (shard and row); None at an epoch's begin.
    """

    epoch: int = 0
    window: int = 0
    given: int = 0
    shards: dict[str, Any] | None = field(default=None, repr=False)


EPOCH_START = ReaderPosition()


def endless_rows(
    rows: datasets.IterableDataset,
    reader: int,
    readers: int,
    seed: int,
    buffer: int,
    place: ReaderPosition = EPOCH_START,
) -> Iterator[tuple[dict[str, Any], ReaderPosition]]:
    """What one of several readers gets: epoch after epoch, each row of its shards once.

    The shards come in an order drawn from (seed, epoch), which also decides whose they are. Consecutive rows are taken
    into a window of `buffer` rows, which are given in an order drawn from (seed, epoch, reader, window). A place thus
    tells all that is still to come, and nothing is lost where a reader goes on from it: it reads its window again and
    passes over the rows that were given. (The buffer of `IterableDataset.shuffle` forgets the rows that it holds.)

    Args:
        rows: of `Corpus.rows`. reader: its number, of `readers`. place: where to go on.

    Yields:
        A row, and the place after it.

    Raises:
        CorpusError: a shard cannot be read; an epoch without rows, which would go on for ever.
    """
    own = share(rows, reader, readers)
    if place.shards is not None:
        own.load_state_dict(place.shards)
    window, given, shards = place.window, place.given, place.shards
    for epoch in count(place.epoch):
        own.set_epoch(shard_order(seed, epoch))  # a state of another epoch no longer counts
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
                f"Reader {reader} of {readers} found no row in epoch {epoch}: is the corpus another one than that of "
                "the checkpoint, or were its shards changed? Run `tbps data verify`."
            )
        window, shards = 0, None


def shard_order(seed: int, epoch: int) -> int:
    """The number that decides, by `IterableDataset.set_epoch`, in which order the shards come: never 0, which would
    be the order on disk."""
    drawn = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    return int(drawn >> 2) + 1
