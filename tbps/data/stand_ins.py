"""Which pairs stand in for one whose image cannot be read."""

from collections.abc import Collection, Iterator

import numpy as np

MOST_OTHERS = 100  # people tried before the data set itself is called unreadable
DRAW = 1  # keeps these draws apart from those of the augmentation


def stand_ins(person_ids: np.ndarray, pair: int, taken: Collection[int], key: tuple[int, int]) -> Iterator[int]:
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
