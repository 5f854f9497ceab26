"""Samplers of training pairs: batches that mix identities, and batches of captions of similar length."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

Key = tuple[int, int]  # (epoch, index of the pair)


class IdentitySampler(Sampler[Key]):
    """Yield (epoch, index) in an order whose batches mix identities. Each epoch covers every pair once.

    The pairs of an identity form groups of `samples_per_identity`, which are spread evenly over the epoch at random
    offsets. A batch therefore rarely holds two groups of an identity. If it does, all losses treat their pairs as
    positives of each other.

    Args:
        person_ids: The person of each pair.
        batch_size: Pairs per batch, a multiple of `samples_per_identity`.
        samples_per_identity: Pairs of one person per group.
        seed: With the epoch, it determines the order, which is the same in every process and after a resume.

    Raises:
        ValueError: `samples_per_identity` does not divide the batch size.
    """

    def __init__(
        self, person_ids: Sequence[int] | np.ndarray, batch_size: int, samples_per_identity: int = 1, seed: int = 0
    ) -> None:
        if samples_per_identity < 1 or batch_size % samples_per_identity:
            raise ValueError(
                f"samples_per_identity={samples_per_identity} does not divide the batch size {batch_size}. "
                "Choose a divisor, so that no group is cut in two."
            )
        self.members = [np.flatnonzero(np.asarray(person_ids) == person) for person in np.unique(person_ids)]
        self.group_size, self.seed, self.epoch = samples_per_identity, seed, 0
        self.length = len(person_ids)

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; Trainer calls this before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Key]:
        rng = np.random.default_rng([self.seed, self.epoch])
        offsets: list[float] = []
        groups: list[np.ndarray] = []
        remainders: list[np.ndarray] = []
        for members in self.members:
            shuffled = rng.permutation(members)
            cut = [shuffled[i : i + self.group_size] for i in range(0, len(shuffled), self.group_size)]
            if len(cut[-1]) < self.group_size:  # a shorter group would shift all later ones across batch borders
                remainders.append(cut.pop())
            groups += cut
            offsets += list((np.arange(len(cut)) + rng.random(len(cut))) / max(len(cut), 1))
        ordered = [groups[i] for i in np.argsort(offsets)]
        rng.shuffle(remainders)
        for index in np.concatenate([*ordered, *remainders]):
            yield self.epoch, int(index)


class LengthGroupedSampler(Sampler[Key]):
    """Reorder an `IdentitySampler` within windows of a few batches, so that a batch has captions of similar length.

    This saves padding. It is off by default, because negatives then have similar lengths too. In each window, groups
    of `samples_per_identity` pairs are sorted by their longest caption and cut into batches that hold no person in two
    groups. The batches come in random order. If a window cannot be cut that way, its order does not change, nor does
    that of an incomplete batch at the end of an epoch. Each epoch covers every pair once.

    Args:
        order: The sampler to reorder.
        lengths: The number of tokens of each pair's caption.
        person_ids: The person of each pair.
        batch_size: Pairs per batch, over all processes.
        window: Batches per window.

    Raises:
        ValueError: The window has fewer than two batches.
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
            raise ValueError(f"length_group_window must be 0 (off) or at least 2 batches, got {window}.")
        self.order, self.batch_size, self.window = order, batch_size, window
        self.lengths, self.person_ids = np.asarray(lengths), np.asarray(person_ids)

    def __len__(self) -> int:
        return len(self.order)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; Trainer calls this before each epoch."""
        self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[Key]:
        keys = list(self.order)
        rng = np.random.default_rng([self.order.seed, self.order.epoch, self.window])
        in_batches = len(keys) - len(keys) % self.batch_size
        step = self.window * self.batch_size
        for start in range(0, in_batches, step):
            part = keys[start : min(start + step, in_batches)]
            batches = self.cut(part)
            if batches is None:
                yield from part
            else:
                for number in rng.permutation(len(batches)):
                    yield from batches[number]
        yield from keys[in_batches:]

    def cut(self, keys: list[Key]) -> list[list[Key]] | None:
        """Cut a window into batches of similar length: each group, shortest first, goes to the first batch that has
        room and none of its people. Returns None if there is no such batch for a group."""
        size = self.order.group_size
        groups = [keys[i : i + size] for i in range(0, len(keys), size)]
        groups.sort(key=lambda group: max(self.lengths[index] for _, index in group))
        batches: list[list[Key]] = [[] for _ in range(len(keys) // self.batch_size)]
        people: list[set[int]] = [set() for _ in batches]
        for group in groups:
            own = {int(self.person_ids[index]) for _, index in group}
            fitting = (i for i, batch in enumerate(batches) if len(batch) < self.batch_size and not own & people[i])
            number = next(fitting, None)
            if number is None:
                return None
            batches[number] += group
            people[number] |= own
        return batches
