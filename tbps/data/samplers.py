"""Batches of captions of like length, for less padding; off by default, since negatives then are of like length too.

An order of the training pairs in which a batch holds each identity as many times as asked, and no more.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


class IdentitySampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) so that consecutive batches mix identities: each epoch covers every pair once.

    The pairs of an identity are cut into groups of `samples_per_identity`, and its groups are spread evenly over the
    epoch at random offsets. A batch therefore holds an identity once a group, save the rare case that two of its
    groups meet near a border; such pairs are positives of each other, as every loss of tbps treats them.

    Args:
        person_ids: one id a pair. batch_size: pairs of one batch (a multiple of `samples_per_identity`).
        seed: with the epoch, the only source of randomness: any process and any resumed run draw the same order.

    Raises:
        ValueError: a batch size that the groups do not fill.
    """

    def __init__(
        self, person_ids: Sequence[int] | np.ndarray, batch_size: int, samples_per_identity: int = 1, seed: int = 0
    ) -> None:
        if samples_per_identity < 1 or batch_size % samples_per_identity:
            raise ValueError(
                f"samples_per_identity={samples_per_identity} does not divide the batch size {batch_size}: "
                "choose a divisor, so that no group is cut in two."
            )
        self.members = [np.flatnonzero(np.asarray(person_ids) == person) for person in np.unique(person_ids)]
        self.group_size, self.seed, self.epoch = samples_per_identity, seed, 0
        self.length = len(person_ids)

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; Trainer calls it before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        places: list[float] = []
        groups: list[np.ndarray] = []
        remainders: list[np.ndarray] = []
        for members in self.members:
            shuffled = rng.permutation(members)
            cut = [shuffled[i : i + self.group_size] for i in range(0, len(shuffled), self.group_size)]
            if len(cut[-1]) < self.group_size:  # would shift all later groups across batch borders
                remainders.append(cut.pop())
            groups += cut
            places += list((np.arange(len(cut)) + rng.random(len(cut))) / max(len(cut), 1))
        ordered = [groups[i] for i in np.argsort(places)]
        rng.shuffle(remainders)
        for index in np.concatenate([*ordered, *remainders]):
            yield self.epoch, int(index)


Key = tuple[int, int]


class LengthGroupedSampler(Sampler[Key]):
    """The order of an `IdentitySampler`, whose batches are cut anew within windows of a few consecutive batches.

    A window's groups (`samples_per_identity` pairs that stand together) are sorted by their longest caption and cut
    into batches, none of which holds a person twice over; the batches come in random order. Where that cannot be, the
    window stays as it was: identities are never less spread than in the order itself. The end of an epoch, too short
    for a batch, stays too. Each epoch covers every pair once.

    Args:
        order: gives (epoch, pair) keys. lengths: tokens of each pair's caption. person_ids: of each pair.
        batch_size: pairs of one batch of all processes. window: batches of one window.

    Raises:
        ValueError: a window of fewer than two batches.
    """

    def __init__(
        self,
        order: IdentitySampler,
        lengths: Sequence[int] | np.ndarray,
        person_ids: Sequence[int] | np.ndarray,
        batch_size: int,
        window: int,
    ) -> None:
        if window < 2:
            raise ValueError(f"length_group_window={window}: expected 0 (off) or at least 2 batches.")
        self.order, self.batch_size, self.window = order, batch_size, window
        self.lengths, self.person_ids = np.asarray(lengths), np.asarray(person_ids)

    def __len__(self) -> int:
        return len(self.order)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; Trainer calls it before each epoch."""
        self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[Key]:
        keys = list(self.order)
        rng = np.random.default_rng([self.order.seed, self.order.epoch, self.window])
        whole = len(keys) - len(keys) % self.batch_size
        step = self.window * self.batch_size
        for start in range(0, whole, step):
            part = keys[start : min(start + step, whole)]
            batches = self.cut(part)
            if batches is None:
                yield from part
            else:
                for place in rng.permutation(len(batches)):
                    yield from batches[place]
        yield from keys[whole:]

    def cut(self, keys: list[Key]) -> list[list[Key]] | None:
        """Batches of like length, each group in the first that has room and not its people; None where none has."""
        size = self.order.group_size
        groups = [keys[i : i + size] for i in range(0, len(keys), size)]
        groups.sort(key=lambda group: max(self.lengths[index] for _, index in group))
        batches: list[list[Key]] = [[] for _ in range(len(keys) // self.batch_size)]
        people: list[set[int]] = [set() for _ in batches]
        for group in groups:
            own = {int(self.person_ids[index]) for _, index in group}
            fits = (i for i, batch in enumerate(batches) if len(batch) < self.batch_size and not own & people[i])
            place = next(fits, None)
            if place is None:
                return None
            batches[place] += group
            people[place] |= own
        return batches
