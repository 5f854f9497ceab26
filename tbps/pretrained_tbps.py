"""Tower weights and configuration fields from published checkpoints, adapted to another image size."""

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from .configuration_tbps import as_pair

POSITION_TABLES = ("embeddings.position_embedding.weight", "embeddings.position_embeddings")


def tower_weights(
    vision: str, text: str | None, image_size: tuple[int, int] | None, interpolation: str
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read one CLIP-like checkpoint, or two towers.

    Returns:
        weights by their names in a `TBPSModel`, and the fields of `TBPSConfig` that they fix.

    Raises:
        ValueError: one checkpoint without a text tower; an image size that patches do not fill.
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
        projections = shared_space(source)
        width = projections["text_projection.weight"].shape[0]
        fields = {"projection_dim": width, "logit_scale_init_value": source.logit_scale.item()}
    else:
        other = AutoModel.from_pretrained(text)
        text_model = getattr(other, "text_model", other)
    vision_config, text_config = deepcopy(vision_model.config), deepcopy(text_model.config)
    if image_size is not None:
        image_size = as_pair(image_size)
        check_image_size(image_size, as_pair(vision_config.patch_size))
        vision_config.image_size = list(image_size)
    weights = {f"text_model.{name}": value for name, value in text_model.state_dict().items()}
    weights |= {
        f"vision_model.{name}": value for name, value in resized(vision_model, image_size, interpolation).items()
    }
    fields |= {"vision_config": vision_config, "text_config": text_config}
    return weights | projections, fields


def shared_space(source: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The projections of a CLIP-like model into its shared space, and its scale. SigLIP's towers end in that space:
    theirs are the identity."""
    weights = {name: value.detach() for name, value in source.named_parameters()}
    if "visual_projection.weight" not in weights:
        identity = torch.eye(source.config.vision_config.hidden_size)
        weights |= {"visual_projection.weight": identity, "text_projection.weight": identity.clone()}
    kept = ("visual_projection.weight", "text_projection.weight", "logit_scale")
    return {name: weights[name].reshape(()) if name == "logit_scale" else weights[name] for name in kept}


def special_tokens(checkpoint: str, text_config: PreTrainedConfig, given: list[int] | None) -> list[int] | None:
    """Which ids the parts must not look at: those of the checkpoint's own tokenizer, whose padding is also set in
    `text_config`, as configurations name few of them (BERT's) or wrong ones (SigLIP's).

    Args:
        given: ids that were chosen, which then count.
    Returns:
        the field `special_token_ids`; None where there is no tokenizer and the configuration names them itself.

    Raises:
        ValueError: no tokenizer, and a configuration that names neither an end nor a separator.
    """
    tokenizer = find_tokenizer(checkpoint)
    if tokenizer is not None and tokenizer.pad_token_id is not None:
        text_config.pad_token_id = tokenizer.pad_token_id
    if given is not None:
        return given
    if tokenizer is not None:
        return sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id})
    named = (getattr(text_config, f"{name}_token_id", None) for name in ("eos", "sep"))
    if not any(isinstance(token, int) and token < text_config.vocab_size for token in named):
        raise ValueError(
            f"{checkpoint} has no tokenizer, and its configuration names no special tokens that the parts must not "
            "look at: save the tokenizer there, or give special_token_ids=[...] (begin, end, padding)."
        )
    return None


def find_tokenizer(checkpoint: str) -> PreTrainedTokenizerBase | None:
    """The checkpoint's tokenizer, if it has one: Transformers makes some of special tokens alone where it has none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    except (OSError, ValueError):
        return None
    return tokenizer if len(tokenizer) > len(tokenizer.all_special_ids) else None


def put_towers(model: nn.Module, weights: dict[str, torch.Tensor], source: str) -> None:
    """Load tower weights into a model made for them.

    Raises:
        ValueError: a weight without a place in the model, or of another size than its place.
    """
    places = model.state_dict()
    for name, weight in weights.items():
        if name not in places:
            raise ValueError(f"{source}: the tower weight {name} has no place in the model.")
        if places[name].shape != weight.shape:
            raise ValueError(
                f"{source} has {name} of size {tuple(weight.shape)}, the configuration asks for "
                f"{tuple(places[name].shape)}: leave out the field that asks for another size."
            )
    model.load_state_dict(weights, strict=False)


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
