"""Run under torchrun by test_distributed.py: each process has its share of one batch; rank 0 writes the gradients."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from conftest import make_config
from torch.nn.parallel import DistributedDataParallel

from tbps import TBPSModel
from tbps.training.gather import gather_pairs

PERSON_IDS = torch.tensor([0, 1, 2, 2, 1, 3, 3, 0])  # identities repeat across processes


def gradients(batch: dict[str, torch.Tensor], rank: int, world: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = TBPSModel(make_config(num_identities=4, part_matching_loss_weight=1.0, text_part_weights=True))
    wrapped = DistributedDataParallel(model) if world > 1 else model
    size = len(PERSON_IDS) // world
    own = slice(rank * size, (rank + 1) * size)
    chunk = 3 if world > 1 else None  # uneven: a process has four pairs
    share = {name: value[own] for name, value in batch.items()}
    output, ids = gather_pairs(wrapped(**share, embed_chunk_size=chunk), PERSON_IDS[own])
    model.total_loss(model.compute_losses(output, ids)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def main(path: str) -> None:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, 200, (8, 10), generator=generator)
    ids[:, -1] = 1
    batch = {"input_ids": ids, "pixel_values": torch.randn(8, 3, 32, 16, generator=generator)}
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    shared = gradients(batch, rank, world)
    dist.barrier()
    dist.destroy_process_group()
    if rank == 0:
        alone = gradients(batch, 0, 1)
        worst = max(float((shared[name] - alone[name]).abs().max()) for name in alone)
        largest = max(float(value.abs().max()) for value in alone.values())
        result = {"world": world, "worst": worst, "largest": largest, "same": shared.keys() == alone.keys()}
        Path(path).write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
