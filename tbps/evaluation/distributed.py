"""Work spread over the processes of a launch: each embeds its share of the batches, all of them get all vectors."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist


def processes() -> int:
    """How many processes there are; 1 outside of a launch."""
    return dist.get_world_size() if dist.is_initialized() else 1


def encode_spread(
    encode: Callable[[Sequence[Any]], torch.Tensor], items: Sequence[Any], batch_size: int
) -> torch.Tensor:
    """`encode(items)`, (N, E) float32 on the CPU, computed by all processes together and equal to the last bit: a
    batch holds the same items as it does with one process, and none is embedded twice into the result.

    Args:
        encode: embeds its items in order, `batch_size` at a time. items: the same ones in every process.
    """
    world = processes()
    if world == 1 or not len(items):
        return encode(items)
    count = -(-len(items) // batch_size)
    rounds = -(-count // world)
    # every process runs as many, since processes of a sharded model wait for each other: what is left over is dropped
    shares = [[rank + turn * world for turn in range(rounds)] for rank in range(world)]
    rows = [[rows_of(batch % count, batch_size, len(items)) for batch in share] for share in shares]
    own = encode([items[i] for batch in rows[dist.get_rank()] for i in batch])
    gathered: list[Any] = [None] * world
    dist.all_gather_object(gathered, own)
    vectors = torch.empty(len(items), own.shape[1])
    for share, batches, embedded in zip(shares, rows, gathered, strict=True):
        for batch, places, part in zip(share, batches, embedded.split([len(b) for b in batches]), strict=True):
            if batch < count:
                vectors[list(places)] = part
    return vectors


def rows_of(batch: int, batch_size: int, total: int) -> range:
    """The places of a batch's items."""
    return range(batch * batch_size, min(total, (batch + 1) * batch_size))


def from_first(compute: Callable[[], Any]) -> Any:
    """What process 0 computes, in all processes."""
    if processes() == 1:
        return compute()
    found = [compute() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(found, src=0)
    return found[0]


def is_first() -> bool:
    """Whether this is process 0, which writes."""
    return processes() == 1 or dist.get_rank() == 0


def own_share(items: Sequence[Any]) -> Sequence[Any]:
    """Of things to do, those that this process does: every N-th of N processes."""
    return items if processes() == 1 else items[dist.get_rank() :: dist.get_world_size()]


def gather_lists(own: list[Any]) -> list[Any]:
    """The results of all `own_share`s in the order of the things done, in all processes."""
    if processes() == 1:
        return own
    lists: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(lists, own)
    longest = max(map(len, lists))
    return [one[turn] for turn in range(longest) for one in lists if turn < len(one)]


def wait_for_all() -> None:
    """Go on when all processes have come here."""
    if processes() > 1:
        dist.barrier()
