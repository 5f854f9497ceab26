"""Tower weights and settings from published checkpoints, adapted to another image size or a longer text.

A setting that you give replaces the checkpoint's. Sizes that its weights do not have are refused.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from dataclasses import fields as fields_of
from difflib import get_close_matches
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from .configuration_tbps import TBPSConfig, as_pair
from .files_tbps import check_checkpoint, refuse_non_finite, report_damage

INTERPOLATIONS = ("bicubic", "bilinear")
POSITION_TABLES = ("embeddings.position_embedding.weight", "embeddings.position_embeddings")
TEXT_POSITIONS = "text_model.embeddings.position_embedding.weight"
KEPT_POSITIONS = 20  # those that CLIP's short training captions taught well (Zhang et al., ECCV 2024, section 3.1)


# -- reading published checkpoints


@dataclass(frozen=True)
class Towers:
    """Weights and settings from published checkpoints.

    Args:
        weights: tensors by their names in a `TBPSModel`.
        untrained: names of weights that no checkpoint had, such as a pooler that Transformers drew at random.
        fields: fields of `TBPSConfig` that the towers determine or suggest.
    """

    weights: dict[str, torch.Tensor]
    untrained: frozenset[str]
    fields: dict[str, Any]


def read_towers(
    vision: str,
    text: str | None,
    image_size: tuple[int, int] | None,
    interpolation: str,
    text_length: int | None = None,
    vision_config: dict[str, Any] | PreTrainedConfig | None = None,
    text_config: dict[str, Any] | PreTrainedConfig | None = None,
) -> Towers:
    """Read one CLIP-like checkpoint, or two towers, in float32 whatever their dtype.

    Args:
        vision, text, image_size, interpolation, text_length: as in `TBPSModel.from_vision_text_pretrained`.
        vision_config, text_config: settings that replace those of the towers.

    Raises:
        ValueError: a checkpoint lacks a tower or has weights that are not finite; patches do not fill the image size;
            the interpolation is unknown; the text tower cannot have the text length; a setting is unknown; or there
            are two image sizes or two text lengths.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation={interpolation!r}: expected one of {', '.join(INTERPOLATIONS)}.")
    source, missing = read_source(vision)
    vision_model, vision_missing = find_tower(source, "vision_model", missing)
    check_modality(vision, vision_model, "pixel_values", "image_size", "patch_size")
    projections: dict[str, torch.Tensor] = {}
    fields: dict[str, Any] = {}
    if text is None:
        if not hasattr(source, "text_model"):
            raise ValueError(
                f"{vision} holds a {type(source).__name__}, which has no text tower: give the text tower's checkpoint "
                "as `text`, or one CLIP-like checkpoint with both towers."
            )
        projections = shared_projections(source)
        width = projections["text_projection.weight"].shape[0]
        fields = {"projection_dim": width, "logit_scale_init_value": source.logit_scale.item()}
    else:
        source, missing = read_source(text)
    text_model, text_missing = find_tower(source, "text_model", missing)
    check_modality(text or vision, text_model, "input_ids", "max_position_embeddings")
    fields["vision_config"], image_size = merge_settings(vision_model.config, vision_config, "image_size", image_size)
    fields["text_config"], text_length = merge_settings(
        text_model.config, text_config, "max_position_embeddings", text_length
    )
    if image_size is not None:
        image_size = as_pair(image_size)
        check_image_size(image_size, as_pair(vision_model.config.patch_size))
        fields["vision_config"].image_size = list(image_size)
    check_text_length(text_length, text_model.config, text or vision)
    weights = {f"text_model.{name}": value for name, value in text_model.state_dict().items()}
    if text_length is not None and text_length > text_model.config.max_position_embeddings:
        weights[TEXT_POSITIONS] = stretch_positions(weights[TEXT_POSITIONS], text_length)
        fields["text_config"].max_position_embeddings = text_length
    resized = resized_weights(vision_model, image_size, interpolation)
    weights |= {f"vision_model.{name}": value for name, value in resized.items()}
    return Towers(weights | projections, vision_missing | text_missing, fields)


def read_source(checkpoint: str) -> tuple[PreTrainedModel, frozenset[str]]:
    """Load the model that has a tower, and return it with the names of parameters that the checkpoint lacks.

    Raises:
        ValueError: the checkpoint is a full tbps model, whose decoder would be lost, or its weights are not finite.
    """
    check_checkpoint(checkpoint)
    with report_damage(f"The checkpoint {checkpoint}"):
        source, info = AutoModel.from_pretrained(checkpoint, dtype=torch.float32, output_loading_info=True)
    if source.config.model_type == TBPSConfig.model_type:
        raise ValueError(f"{checkpoint} holds a complete TBPSModel: load it with TBPSModel.from_pretrained.")
    refuse_non_finite(checkpoint, source.named_parameters())
    return source, frozenset(info["missing_keys"])


def find_tower(source: PreTrainedModel, name: str, missing: frozenset[str]) -> tuple[PreTrainedModel, frozenset[str]]:
    """Return a model's tower, or the model itself if it is one, and its missing weights by their names in ours."""
    if not hasattr(source, name):
        return source, frozenset(f"{name}.{key}" for key in missing)
    return getattr(source, name), frozenset(key for key in missing if key.startswith(f"{name}."))


def shared_projections(source: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Return a CLIP-like model's projections into its shared space: the identity for SigLIP, whose towers end there."""
    weights = {name: value.detach() for name, value in source.named_parameters()}
    if "visual_projection.weight" not in weights:
        identity = torch.eye(source.config.vision_config.hidden_size)
        weights |= {"visual_projection.weight": identity, "text_projection.weight": identity.clone()}
    return {name: weights[name] for name in ("visual_projection.weight", "text_projection.weight")}


def load_towers(
    model: Any, weights: dict[str, torch.Tensor], source: str, untrained: frozenset[str] = frozenset()
) -> None:
    """Load tower weights into a model, and set `model.from_checkpoint` to the names of parameters that they fill.

    A separate projection of the patches that parts read starts as a copy of the vision tower's projection.

    Args:
        source: name of the checkpoint, for messages.
        untrained: names of weights that no checkpoint had.

    Raises:
        ValueError: the model has no such weight, has it in another size, or has a layer that the weights lack.
    """
    own = model.state_dict()
    lacking = [name for name in own if name.startswith(("vision_model.", "text_model.")) and name not in weights]
    if lacking:
        raise ValueError(f"{source} has no {lacking[0]}, which the configuration asks for: leave out the setting.")
    for name, weight in weights.items():
        if name not in own:
            raise ValueError(f"{source} has a tower weight {name}, for which the model has no place.")
        if own[name].shape != weight.shape:
            raise ValueError(
                f"{source} has {name} of size {tuple(weight.shape)}, but the configuration asks for "
                f"{tuple(own[name].shape)}: leave out the field that asks for another size."
            )
    model.load_state_dict(weights, strict=False)
    started = set(weights) - untrained
    if model.part_visual_projection is not None and "visual_projection.weight" in weights:
        model.part_visual_projection.load_state_dict(model.visual_projection.state_dict())
        started.add("part_visual_projection.weight")
    model.from_checkpoint = frozenset(started)


# -- settings that the user gives


def merge_settings(
    own: PreTrainedConfig, given: dict[str, Any] | PreTrainedConfig | None, size: str, requested: Any
) -> tuple[PreTrainedConfig, Any]:
    """Replace settings of a tower's configuration, and find the size that is asked of it.

    Args:
        own: the checkpoint's configuration.
        given: settings by name, or a full configuration.
        size: name of the setting that an argument may ask for too.
        requested: the value of that argument, or None.

    Raises:
        ValueError: an unknown setting, another type of tower, or two sizes.
    """
    settings = given.to_dict() if isinstance(given, PreTrainedConfig) else dict(given or {})
    check_tower_fields(settings, own)
    if isinstance(given, dict) and given.get("dtype") is not None:
        raise ValueError(
            f"dtype={given['dtype']!r:.80} cannot be set for one tower. Set dtype= for the model, or "
            "bf16 or fp16 in a recipe."
        )
    if settings.get("model_type", own.model_type) != own.model_type:
        raise ValueError(f"model_type={settings['model_type']!r}, but the tower is a {own.model_type}: leave it out.")
    found = settings.pop(size, None)
    if found is not None and requested is not None and as_pair(found) != as_pair(requested):
        raise ValueError(
            f"{size}={found!r} in the tower's configuration, but {requested!r} as argument: give one size."
        )
    if size == "max_position_embeddings" and found is not None and found < own.max_position_embeddings:
        raise ValueError(
            f"{size}={found}, but the tower has {own.max_position_embeddings} positions. To cut texts, give "
            f"text_length={found}."
        )
    config = deepcopy(own)
    for name in ("model_type", "dtype"):
        settings.pop(name, None)
    for name, value in settings.items():
        setattr(config, name, value)
    return config, requested if requested is not None else found


def given_names(given: dict[str, Any] | PreTrainedConfig | None) -> frozenset[str]:
    """Return the names of settings that the user chose; in a full configuration nobody knows which were chosen."""
    return frozenset(given) if isinstance(given, dict) else frozenset()


def float_type(given: Any) -> torch.dtype | None:
    """Return the dtype that `given` is or names; None for None.

    Raises:
        ValueError: it is not a floating-point dtype.
    """
    found = getattr(torch, given, None) if isinstance(given, str) else given
    if found is None and given is None:
        return None
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype={given!r:.80}: expected float32, bfloat16, float16 or float64.")
    return found


def check_fields(config_kwargs: dict[str, Any]) -> None:
    """Refuse unknown fields of `TBPSConfig`, which Transformers would accept silently."""
    refuse_unknown(
        "TBPSConfig", config_kwargs, [field.name for field in fields_of(TBPSConfig)] + ["attn_implementation"]
    )


def check_tower_fields(given: dict[str, Any], tower: PreTrainedConfig) -> None:
    """Refuse unknown settings of a tower."""
    refuse_unknown(f"The configuration of a {tower.model_type}", given, [*tower.to_dict(), *tower.attribute_map])


def refuse_unknown(owner: str, given: dict[str, Any], known: list[str]) -> None:
    """Refuse settings that `owner` does not know, and name the nearest ones."""
    unknown = [str(name) for name in given if name not in known]
    if unknown:
        raise ValueError(f"{owner} has no {', '.join(unknown)}.{did_you_mean(unknown, known)}")


def did_you_mean(unknown: Sequence[str], known: Sequence[str]) -> str:
    """Ask for the known word nearest to each unknown one; return an empty string if none is near."""
    near = [hint for name in unknown for hint in get_close_matches(name, known, 1)]
    return f" Did you mean {', '.join(near)}?" if near else ""


def check_modality(source: str, tower: PreTrainedModel, reads: str, *sizes: str) -> None:
    """Refuse a model that is not a tower of this modality, or whose configuration lacks one of `sizes`."""
    kind, other = ("vision", "text") if reads == "pixel_values" else ("text", "vision")
    if tower.main_input_name != reads:
        raise ValueError(
            f"{source} holds a {type(tower).__name__}, which reads {tower.main_input_name}: expected a {kind} tower, "
            f"which reads {reads}. Is it the {other} tower?"
        )
    if missing := [name for name in ("hidden_size", *sizes) if not hasattr(tower.config, name)]:
        raise ValueError(
            f"{source} holds a {type(tower).__name__}, whose configuration has no {' and no '.join(missing)}: tbps "
            f"cannot use it as a {kind} tower (see docs/towers.md)."
        )


def check_image_size(image_size: tuple[int, int], patch_size: tuple[int, int]) -> None:
    """Refuse a size that patches do not fill: the pixels beyond the last patch would be dropped silently."""
    if any(size < 1 or size % patch for size, patch in zip(image_size, patch_size, strict=True)):
        raise ValueError(
            f"image_size={image_size} (height, width) must be a multiple of the patch size {patch_size} in both "
            "directions."
        )


def check_text_length(text_length: int | None, text_config: Any, source: str) -> None:
    """Refuse a text length that the text tower cannot have."""
    if text_length is None:
        return
    positions = text_config.max_position_embeddings
    if text_length < 3:
        raise ValueError(f"text_length={text_length}: expected at least 3 tokens: begin, a word and end.")
    if text_length > positions and text_config.model_type != "clip_text_model":
        raise ValueError(
            f"text_length={text_length}, but the text tower of {source} is a {text_config.model_type} of {positions} "
            "positions, and only CLIP's table can be stretched: choose at most that many, or a CLIP text tower."
        )
    if text_length > positions and positions < KEPT_POSITIONS + 2:
        raise ValueError(f"{source} has {positions} text positions: stretching needs at least {KEPT_POSITIONS + 2}.")


# -- position tables


def stretch_positions(table: torch.Tensor, length: int) -> torch.Tensor:
    """Stretch a (positions, width) table to `length` positions as Long-CLIP does (Zhang et al., ECCV 2024, eq. 2).

    The first 20 positions stay, so a text of up to 20 tokens keeps its embedding. The others are interpolated linearly
    between their first and their last.

    Returns:
        (length, width), or the same tensor if it has enough positions.
    """
    if length <= len(table):
        return table
    kept, rest = table[:KEPT_POSITIONS], table[KEPT_POSITIONS:]
    rest = F.interpolate(rest.T[None].float(), size=length - KEPT_POSITIONS, mode="linear", align_corners=True)[0].T
    return torch.cat([kept, rest.to(kept.dtype)])


def resized_weights(
    tower: PreTrainedModel, image_size: tuple[int, int] | None, interpolation: str
) -> dict[str, torch.Tensor]:
    """Return a vision tower's state dict, its position table resized to the grid of `image_size` (H, W) pixels."""
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
    """Resize a position table (prefix + rows*columns, width) to another grid; rows before the grid (CLS) stay.

    Args:
        table: its prefix, then row-major over `old_grid` = (rows, columns).
        mode: of `torch.nn.functional.interpolate`.

    Returns:
        (prefix + new rows * new columns, width), or the same tensor if the grids are equal.
    """
    if old_grid == new_grid:
        return table
    prefix, grid = table.split([len(table) - old_grid[0] * old_grid[1], old_grid[0] * old_grid[1]])
    grid = grid.T.reshape(1, -1, *old_grid).float()
    grid = F.interpolate(grid, size=new_grid, mode=mode, align_corners=False)
    return torch.cat([prefix, grid.flatten(2)[0].T.to(prefix.dtype)])
