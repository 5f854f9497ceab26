"""Longer captions than a CLIP text tower was trained for: its position table, stretched."""

from typing import Any

import torch
import torch.nn.functional as F

TEXT_POSITIONS = "text_model.embeddings.position_embedding.weight"
KEPT = 20  # positions that CLIP's short training captions have taught well (Zhang et al., ECCV 2024, section 3.1)


def check_text_length(text_length: int | None, text_config: Any, source: str) -> None:
    """Refuse a caption length that the text tower cannot be given.

    Raises:
        ValueError: names the tower's limit.
    """
    if text_length is None:
        return
    positions = text_config.max_position_embeddings
    if text_length < 3:
        raise ValueError(f"text_length={text_length}: expected at least 3 tokens, begin, a word and end.")
    if text_length > positions and text_config.model_type != "clip_text_model":
        raise ValueError(
            f"text_length={text_length}, but the text tower of {source} is a {text_config.model_type} of {positions} "
            "positions, and only CLIP's table is stretched: choose at most that many, or a CLIP text tower."
        )
    if text_length > positions and positions < KEPT + 2:
        raise ValueError(f"{source} has {positions} text positions: expected at least {KEPT + 2} to stretch.")


def stretch_positions(table: torch.Tensor, length: int) -> torch.Tensor:
    """A (positions, width) table for `length` positions, after Long-CLIP (Zhang et al., ECCV 2024), equation 2.

    The first 20 stay as they are; the others are interpolated linearly, their first and last again at both ends. A
    caption of up to 20 tokens is embedded as before.

    Returns:
        (length, width), the same tensor where it has as many positions already, or more.
    """
    if length <= len(table):
        return table
    kept, rest = table[:KEPT], table[KEPT:]
    rest = F.interpolate(rest.T[None].float(), size=length - KEPT, mode="linear", align_corners=True)[0].T
    return torch.cat([kept, rest.to(kept.dtype)])
