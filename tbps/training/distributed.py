"""Pairs of all processes for the loss, with gradient: the negatives are those of the global batch.

The way of a batch: TBPSTrainer.compute_loss calls model(..., person_ids=..., gather=gather_pairs); the model encodes
its own pairs, calls `gather`, and computes the losses on what it returns. The trainer cannot gather by itself:
DistributedDataParallel and FSDP count only parameters that are used inside `forward`, and the losses use some.
"""

from dataclasses import fields
from typing import Any

import torch
import torch.distributed as dist

from tbps.pretrained_model_tbps import TBPSOutput

GATHERED = (
    "text_embeds",
    "image_embeds",
    "text_global_embeds",
    "image_global_embeds",
    "text_part_embeds",
    "image_part_embeds",
    "text_part_weights",
    "image_part_spread",
)


class GatherRows(torch.autograd.Function):
    """Gathers the rows of all processes in rank order, with gradient: (b, ...) -> (N*b, ...).

    torch.distributed.nn.functional.all_gather does the same, but its backward pass takes transposed gradients, such as
    those of `texts @ images.T`, for contiguous ones: measured wrong by 0.1 % or more (torch 2.13, gloo).
    """

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        """Gather the rows."""
        ctx.count = len(rows)
        return gather_rows(rows)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Sum all processes' gradients of this process's rows."""
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[dist.get_rank() * ctx.count :][: ctx.count]


def is_alone() -> bool:
    """Whether this is the only process."""
    return not dist.is_initialized() or dist.get_world_size() == 1


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Gather the rows of all processes in rank order, without gradient: (b, ...) -> (N*b, ...)."""
    if is_alone():
        return rows
    parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def broadcast_rows(rows: torch.Tensor) -> torch.Tensor:
    """Overwrite the rows with those of process 0, and return them."""
    if not is_alone():
        dist.broadcast(rows, src=0)
    return rows


def gather_pairs(output: TBPSOutput, person_ids: torch.Tensor) -> tuple[TBPSOutput, torch.Tensor, None]:
    """Gather the pairs of all processes in rank order; the third value, None, trusts all of them fully.

    Every process computes the same loss on the same N*b pairs. The backward pass of the gather sums the gradients of
    the processes and DistributedDataParallel averages them, so a step equals one process's step on the global batch.

    Args:
        output: of `TBPSModel` for the b pairs of this process. person_ids: (b,).
    """
    if is_alone():
        return output, person_ids, None
    gathered = TBPSOutput()
    for entry in fields(output):
        value = getattr(output, entry.name)
        if entry.name in GATHERED and value is not None:
            setattr(gathered, entry.name, GatherRows.apply(value))
    return gathered, gather_rows(person_ids), None
