"""Embeddings of all processes, with gradient: the negatives of a batch are those of the whole global batch.

A model whose parameters are sharded over processes (FSDP 2): before, while and after it trains.
"""

from dataclasses import fields
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from transformers import TrainerCallback

from tbps.modeling_tbps import TBPSModel
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
    """Rows of all processes in rank order, with gradient: (b, ...) -> (N*b, ...).

    torch.distributed.nn.functional.all_gather would do, but its backward pass takes gradients that are transposed in
    memory (as those of `texts @ images.T` are) for contiguous ones: measured wrong by 0.1 % or more (torch 2.13, gloo).
    """

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        """The rows of every process."""
        ctx.count = len(rows)
        return gather(rows)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Sum of all processes' gradients of this process's rows."""
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[dist.get_rank() * ctx.count :][: ctx.count]


def gather(rows: torch.Tensor) -> torch.Tensor:
    """(b, ...) of every process -> (N*b, ...), without gradient."""
    parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def of_first(rows: torch.Tensor) -> torch.Tensor:
    """The first process's rows, in every process."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.broadcast(rows, src=0)
    return rows


def gather_labels(labels: torch.Tensor) -> torch.Tensor:
    """(b,) of every process -> (N*b,) in rank order."""
    return gather(labels) if dist.is_initialized() and dist.get_world_size() > 1 else labels


def gather_pairs(output: TBPSOutput, person_ids: torch.Tensor) -> tuple[TBPSOutput, torch.Tensor, None]:
    """Concatenate the pairs of all processes in rank order, every one of them trusted (None); what one process alone
    has is returned as it is.

    Every process computes the same loss on the same N*b pairs. The backward pass of the gather sums the processes'
    gradients and DistributedDataParallel averages them, so that a step equals one process's step on the whole batch.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return output, person_ids, None
    gathered = TBPSOutput()
    for entry in fields(output):
        value = getattr(output, entry.name)
        if entry.name in GATHERED and value is not None:
            setattr(gathered, entry.name, GatherRows.apply(value))
    return gathered, gather(person_ids), None


def scale_to_buffer(model: TBPSModel) -> None:
    """Turn the similarity scale into a buffer of the same name: FSDP cannot shard a parameter of one number."""
    scale = model.logit_scale.detach()
    del model.logit_scale
    model.register_buffer("logit_scale", scale)


class ShardedFeatures(TrainerCallback):
    """Lets evaluation embed texts and images with a sharded model: FSDP collects parameters for `forward` alone unless
    it is told of other methods."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The model is sharded by now."""
        for method in ("get_text_features", "get_image_features"):
            register_fsdp_forward_method(kwargs["model"], method)  # does nothing to other models


def gather_full_model(model: TBPSModel) -> TBPSModel:
    """The same model with all parameters in every process; one that is not sharded is returned as it is."""
    if not isinstance(model, FSDPModule):
        return model
    whole = TBPSModel(model.config).to(model.device)
    whole.from_checkpoint = model.from_checkpoint
    whole.load_state_dict(get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)))
    return whole.train(model.training)
