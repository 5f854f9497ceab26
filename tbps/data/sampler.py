"""An order of the training pairs in which a batch holds each identity as many times as asked, and no more."""

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
