"""Embedding a batch in chunks that are embedded again in the backward pass: a batch larger than the device holds."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from .outputs_tbps import TBPSEmbeddingOutput

# all that a loss sees; tokens are not kept
KEPT = ("pooler_output", "global_embeds", "part_embeds", "part_weights", "part_spread")


def embedded_or_none(
    embed: Callable[..., TBPSEmbeddingOutput],
    inputs: dict[str, torch.Tensor | None],
    chunk_size: int | None,
    settings: dict[str, Any],
) -> TBPSEmbeddingOutput | None:
    """One modality, whole or in chunks; None where it is not given (its first input is None)."""
    given = {name: value for name, value in inputs.items() if value is not None}
    if next(iter(inputs)) not in given:
        return None
    if chunk_size is None:
        return embed(**given, **settings)
    return embed_in_chunks(partial(embed, **settings), given, chunk_size)


def embed_in_chunks(
    embed: Callable[..., TBPSEmbeddingOutput], inputs: dict[str, torch.Tensor], size: int
) -> TBPSEmbeddingOutput:
    """Embed `size` rows at a time and keep the embeddings alone (GradCache, Gao et al., "Scaling Deep Contrastive
    Learning Batch Size under Memory Limited Setup", 2021): the backward pass embeds each chunk again, with the random
    numbers of the first time, so that the activations of one chunk exist at a time and the loss sees the whole batch.

    Args:
        embed: of one modality. inputs: its tensors, (B, ...) each.

    Raises:
        ValueError: `size` below 1.
    """
    if size < 1:
        raise ValueError(f"embed_chunk_size={size}: expected 1 or more rows at a time, or None for the whole batch.")

    def kept(*tensors: torch.Tensor) -> tuple[Any, ...]:
        output = embed(**dict(zip(inputs, tensors, strict=True)))
        return tuple(getattr(output, name) for name in KEPT)

    rows = zip(*(tensor.split(size) for tensor in inputs.values()), strict=True)
    chunks = zip(*(checkpoint(kept, *chunk, use_reentrant=False) for chunk in rows), strict=True)
    found = dict(zip(KEPT, chunks, strict=True))
    return TBPSEmbeddingOutput(**{name: torch.cat(values) for name, values in found.items() if values[0] is not None})
