"""Inference shared by the processes of a launch: each encodes some of the batches, and all of them get all vectors.

This asks torch.distributed and not `accelerate.PartialState`. A gallery may be opened in any process, and PartialState
starts a process group where a launcher set the environment of one, and takes a gloo group that the program started for
none (accelerate 1.15): every process would then write as if it were alone.
"""

from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from typing import Any

import torch
import torch.distributed as dist


def num_processes() -> int:
    """The number of processes that work together; 1 if no process group was started."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main_process() -> bool:
    """Whether this is process 0, the one that writes."""
    return num_processes() == 1 or dist.get_rank() == 0


def wait_for_everyone() -> None:
    """Return once all processes have called this."""
    if num_processes() > 1:
        dist.barrier()


def broadcast_from_main(compute: Callable[[], Any]) -> Any:
    """Compute in process 0 and return the result in all processes."""
    if num_processes() == 1:
        return compute()
    results = [compute() if is_main_process() else None]
    dist.broadcast_object_list(results, src=0)
    return results[0]


def shard(items: Sequence[Any]) -> Sequence[Any]:
    """This process's shard of the items: every N-th one, if there are N processes."""
    return items if num_processes() == 1 else items[dist.get_rank() :: num_processes()]


def gather_shards(own: list[Any]) -> list[Any]:
    """Join one result per item of each `shard`, in the order of the items, in all processes.

    A process that stopped early has fewer results. The missing ones are left out.
    """
    absent = object()
    return [result for result in chain(*zip_longest(*_all_gather(own), fillvalue=absent)) if result is not absent]


def encode_distributed(
    encode: Callable[[Sequence[Any]], torch.Tensor], items: Sequence[Any], batch_size: int
) -> torch.Tensor:
    """Compute `encode(items)`, (N, E) float32 on the CPU, by all processes together.

    The result is equal to that of one process to the last bit, since every batch holds the same items.

    Args:
        encode: encodes its items in order, `batch_size` at a time. items: the same in every process.
    """
    if num_processes() == 1 or not len(items):
        return encode(items)
    batches = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
    count, world = len(batches), num_processes()
    # Process r encodes batches r, r + world, ... All encode equally many, since processes of a sharded model wait for
    # each other at every batch. Those past the last batch start again at the first, and the surplus is dropped.
    rounds = -(-count // world)
    shares = [[batches[(rank + turn * world) % count] for turn in range(rounds)] for rank in range(world)]
    vectors = _all_gather(encode([item for batch in shares[dist.get_rank()] for item in batch]))
    parts = [own.split([len(batch) for batch in share]) for own, share in zip(vectors, shares, strict=True)]
    return torch.cat([parts[batch % world][batch // world] for batch in range(count)])


def _all_gather(own: Any) -> list[Any]:
    """The objects of all processes, in the order of their ranks."""
    if num_processes() == 1:
        return [own]
    gathered: list[Any] = [None] * num_processes()
    dist.all_gather_object(gathered, own)
    return gathered
