"""Embeddings of all processes, with gradient: the negatives of a batch are those of the whole global batch."""

from dataclasses import fields

import torch
import torch.distributed
from torch.distributed.nn.functional import all_gather

from tbps.modeling_tbps import TBPSOutput

GATHERED = (
    "text_embeds",
    "image_embeds",
    "text_global_embeds",
    "image_global_embeds",
    "text_part_embeds",
    "image_part_embeds",
    "text_part_weights",
)


def gather_pairs(output: TBPSOutput, person_ids: torch.Tensor) -> tuple[TBPSOutput, torch.Tensor]:
    """Concatenate the pairs of all processes in rank order; what one process alone has is returned as it is.

    Every process computes the same loss on the same N*b pairs. The backward pass of the gather sums the processes'
    gradients and DistributedDataParallel averages them, so that a step equals one process's step on the whole batch.
    """
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return output, person_ids
    gathered = TBPSOutput()
    for entry in fields(output):
        value = getattr(output, entry.name)
        if entry.name in GATHERED and value is not None:
            setattr(gathered, entry.name, torch.cat(all_gather(value.contiguous())))
    ids = [torch.empty_like(person_ids) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(ids, person_ids)
    return gathered, torch.cat(ids)
