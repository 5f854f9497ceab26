"""Tower weights and configuration fields from published checkpoints, adapted to another image size."""

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AutoModel, PreTrainedModel

from .configuration_tbps import as_pair

POSITION_TABLES = ("embeddings.position_embedding.weight", "embeddings.position_embeddings")


def tower_weights(
    vision: str, text: str | None, image_size: tuple[int, int] | None, interpolation: str
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read one CLIP-like checkpoint, or two towers.

    Returns:
        weights by their names in a `TBPSModel`, and the fields of `TBPSConfig` that they fix.
    """
    source = AutoModel.from_pretrained(vision)
    vision_model, projections = getattr(source, "vision_model", source), {}
    fields: dict[str, Any] = {}
    if text is None:
        if not hasattr(source, "text_model"):
            raise ValueError(
                f"{vision} holds a {type(source).__name__}, which has no text tower: give the text tower's checkpoint "
                "as `text`, or one CLIP-like checkpoint that has both."
            )
        text_model = source.text_model
        projections = {
            name: parameter.detach()
            for name, parameter in source.named_parameters()
            if name in ("visual_projection.weight", "text_projection.weight", "logit_scale")
        }
        fields = {"projection_dim": source.config.projection_dim, "logit_scale_init_value": source.logit_scale.item()}
    else:
        other = AutoModel.from_pretrained(text)
        text_model = getattr(other, "text_model", other)
    vision_config = deepcopy(vision_model.config)
    if image_size is not None:
        image_size = as_pair(image_size)
        check_image_size(image_size, as_pair(vision_config.patch_size))
        vision_config.image_size = list(image_size)
    weights = {f"text_model.{name}": value for name, value in text_model.state_dict().items()}
    weights |= {
        f"vision_model.{name}": value for name, value in resized(vision_model, image_size, interpolation).items()
    }
    return weights | projections, fields | {"vision_config": vision_config, "text_config": text_model.config}


def check_image_size(image_size: tuple[int, int], patch_size: tuple[int, int]) -> None:
    """Refuse a size that patches do not fill: the pixels over the edge would be dropped without a word."""
    if any(size < 1 or size % patch for size, patch in zip(image_size, patch_size, strict=True)):
        raise ValueError(
            f"image_size={image_size} (height, width) is no multiple of the patch size {patch_size}: choose one."
        )


def resized(tower: PreTrainedModel, image_size: tuple[int, int] | None, interpolation: str) -> dict[str, torch.Tensor]:
    """The vision tower's state dict with its position table on the grid of `image_size` (H, W) pixels."""
    weights = tower.state_dict()
    if image_size is None:
        return weights
    patch = as_pair(tower.config.patch_size)
    old, new = ((size[0] // patch[0], size[1] // patch[1]) for size in (as_pair(tower.config.image_size), image_size))
    for name in POSITION_TABLES:
        if name in weights:
            table = weights[name]
            weights[name] = resize_position_table(table.view(-1, table.shape[-1]), old, new, interpolation).view(
                *table.shape[:-2], -1, table.shape[-1]
            )
    return weights


def resize_position_table(
    table: torch.Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int], mode: str = "bicubic"
) -> torch.Tensor:
    """A (prefix + rows*columns, width) position table for another grid; the rows before the grid (CLS) are kept.

    Args:
        table: row-major over `old_grid` = (rows, columns), after its prefix.
        mode: of `torch.nn.functional.interpolate`.
    Returns:
        (prefix + new rows * new columns, width), the same tensor where the grids are equal.
    """
    if old_grid == new_grid:
        return table
    prefix, grid = table.split([len(table) - old_grid[0] * old_grid[1], old_grid[0] * old_grid[1]])
    grid = grid.T.reshape(1, -1, *old_grid).float()
    grid = F.interpolate(grid, size=new_grid, mode=mode, align_corners=False)
    return torch.cat([prefix, grid.flatten(2)[0].T.to(prefix.dtype)])
