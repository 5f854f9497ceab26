"""Tower weights and configuration fields from published checkpoints, adapted to another image size.

What a configuration states wins over what a tower's own says; sizes that the weights do not have are refused.

Longer captions than a CLIP text tower was trained for: its position table, stretched.
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
from .files_tbps import check_checkpoint, damage_named, refuse_broken

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


INTERPOLATIONS = ("bicubic", "bilinear")
POSITION_TABLES = ("embeddings.position_embedding.weight", "embeddings.position_embeddings")


@dataclass(frozen=True)
class Towers:
    """What published checkpoints bring to a model.

    Args:
        weights: by their names in a `TBPSModel`. untrained: those of these names that no checkpoint held, such as a
            pooler that Transformers drew at random. fields: of `TBPSConfig`, as the towers fix or suggest them.
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
    """Read one CLIP-like checkpoint, or two towers, in float32 whatever they are stored in.

    Args:
        vision_config, text_config: what is stated of the towers, over their own configurations.

    Raises:
        ValueError: a checkpoint without the tower that is asked of it, or with weights that are not finite; an image
            size that patches do not fill; another interpolation than these two; a text length that the tower cannot be
            given; an unknown setting of a tower, or two image sizes or text lengths.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation={interpolation!r}: expected one of {', '.join(INTERPOLATIONS)}.")
    source, missing = read_source(vision)
    vision_model, vision_missing = tower_of(source, "vision_model", missing)
    check_kind(vision, vision_model, "pixel_values", "image_size", "patch_size")
    projections: dict[str, torch.Tensor] = {}
    fields: dict[str, Any] = {}
    if text is None:
        if not hasattr(source, "text_model"):
            raise ValueError(
                f"{vision} holds a {type(source).__name__}, which has no text tower: give the text tower's checkpoint "
                "as `text`, or one CLIP-like checkpoint that has both."
            )
        projections = shared_space(source)
        width = projections["text_projection.weight"].shape[0]
        fields = {"projection_dim": width, "logit_scale_init_value": source.logit_scale.item()}
    else:
        source, missing = read_source(text)
    text_model, text_missing = tower_of(source, "text_model", missing)
    check_kind(text or vision, text_model, "input_ids", "max_position_embeddings")
    fields["vision_config"], image_size = stated(vision_model.config, vision_config, "image_size", image_size)
    fields["text_config"], text_length = stated(text_model.config, text_config, "max_position_embeddings", text_length)
    if image_size is not None:
        image_size = as_pair(image_size)
        check_image_size(image_size, as_pair(vision_model.config.patch_size))
        fields["vision_config"].image_size = list(image_size)
    check_text_length(text_length, text_model.config, text or vision)
    weights = {f"text_model.{name}": value for name, value in text_model.state_dict().items()}
    if text_length is not None and text_length > text_model.config.max_position_embeddings:
        weights[TEXT_POSITIONS] = stretch_positions(weights[TEXT_POSITIONS], text_length)
        fields["text_config"].max_position_embeddings = text_length
    weights |= {
        f"vision_model.{name}": value for name, value in resized(vision_model, image_size, interpolation).items()
    }
    return Towers(weights | projections, vision_missing | text_missing, fields)


def stated(
    own: PreTrainedConfig, given: dict[str, Any] | PreTrainedConfig | None, size: str, asked: Any
) -> tuple[PreTrainedConfig, Any]:
    """A tower's configuration with what is stated of it in the place of its own, and the size that is asked of it.

    Args:
        own: the checkpoint's. given: settings by name, or a whole configuration. size: the setting that an argument,
            `asked` (or None), may ask for as well.

    Raises:
        ValueError: an unknown setting, another type of tower, or two sizes.
    """
    settings = given.to_dict() if isinstance(given, PreTrainedConfig) else dict(given or {})
    check_tower_fields(settings, own)
    if isinstance(given, dict) and given.get("dtype") is not None:
        raise ValueError(
            f"dtype={given['dtype']!r:.80} is asked of a tower: a model has one type of numbers, its own. Give dtype= "
            "for the whole model; a recipe has bf16 and fp16."
        )
    if settings.get("model_type", own.model_type) != own.model_type:
        raise ValueError(f"model_type={settings['model_type']!r} is asked of a {own.model_type}: leave it out.")
    found = settings.pop(size, None)
    if found is not None and asked is not None and as_pair(found) != as_pair(asked):
        raise ValueError(f"{size}={found!r} in the tower's configuration, and {asked!r} is asked for: state one size.")
    if size == "max_position_embeddings" and found is not None and found < own.max_position_embeddings:
        raise ValueError(
            f"{size}={found}, but the tower has {own.max_position_embeddings} positions: text_length={found} cuts "
            "sentences."
        )
    config = deepcopy(own)
    for name in ("model_type", "dtype"):  # a model has one type of number, its own
        settings.pop(name, None)
    for name, value in settings.items():
        setattr(config, name, value)
    return config, asked if asked is not None else found


def read_source(checkpoint: str) -> tuple[PreTrainedModel, frozenset[str]]:
    """The model that holds a tower, and the names of its parameters that the checkpoint does not hold.

    Raises:
        ValueError: it is a whole tbps model, whose decoder would be dropped, or holds weights that are not finite.
    """
    check_checkpoint(checkpoint)
    with damage_named(f"The checkpoint {checkpoint}"):
        source, info = AutoModel.from_pretrained(checkpoint, dtype=torch.float32, output_loading_info=True)
    if source.config.model_type == TBPSConfig.model_type:
        raise ValueError(f"{checkpoint} holds a whole TBPSModel: load it by TBPSModel.from_pretrained.")
    refuse_broken(checkpoint, source.named_parameters())
    return source, frozenset(info["missing_keys"])


def tower_of(source: PreTrainedModel, name: str, missing: frozenset[str]) -> tuple[PreTrainedModel, frozenset[str]]:
    """The tower in a model, or the model itself where it is one, and what is missing of it by the names of ours."""
    if not hasattr(source, name):
        return source, frozenset(f"{name}.{key}" for key in missing)
    return getattr(source, name), frozenset(key for key in missing if key.startswith(f"{name}."))


def check_kind(source: str, tower: PreTrainedModel, reads: str, *sizes: str) -> None:
    """Refuse what is no tower of this kind: the other modality's, or one without a grid of patches.

    Raises:
        ValueError: says what the checkpoint holds.
    """
    kind, other = ("vision", "text") if reads == "pixel_values" else ("text", "vision")
    if tower.main_input_name != reads:
        raise ValueError(
            f"{source} holds a {type(tower).__name__}, which reads {tower.main_input_name}: expected a {kind} tower, "
            f"which reads {reads}. Is it the {other} tower?"
        )
    if missing := [name for name in ("hidden_size", *sizes) if not hasattr(tower.config, name)]:
        raise ValueError(
            f"{source} holds a {type(tower).__name__}, whose configuration has no {' and no '.join(missing)}: it is no "
            f"{kind} tower that tbps can use (see docs/towers.md)."
        )


def names_of(given: dict[str, Any] | PreTrainedConfig | None) -> frozenset[str]:
    """The settings of a tower that are stated one by one; a whole configuration has all of them, chosen or not."""
    return frozenset(given) if isinstance(given, dict) else frozenset()


def float_type(given: Any) -> torch.dtype | None:
    """The type of a model's numbers that `dtype` asks for, by itself or by its name.

    Raises:
        ValueError: it is none of floating point.
    """
    found = getattr(torch, given, None) if isinstance(given, str) else given
    if found is None and given is None:
        return None
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype={given!r:.80}: expected float32, bfloat16, float16 or float64.")
    return found


def check_fields(config_kwargs: dict[str, Any]) -> None:
    """Refuse misspelled settings, which a configuration of Transformers takes without a word.

    Raises:
        ValueError: names them and the nearest known ones.
    """
    known = [field.name for field in fields_of(TBPSConfig)] + ["attn_implementation"]
    unknown = [name for name in config_kwargs if name not in known]
    if unknown:
        raise ValueError(f"TBPSConfig has no {', '.join(unknown)}.{did_you_mean(unknown, known)}")


def check_tower_fields(given: dict[str, Any], tower: PreTrainedConfig) -> None:
    """Refuse misspelled settings of a tower.

    Raises:
        ValueError: names them and the nearest known ones.
    """
    known = [*tower.to_dict(), *tower.attribute_map]
    unknown = [str(name) for name in given if name not in known]
    if unknown:
        raise ValueError(
            f"The configuration of a {tower.model_type} has no {', '.join(unknown)}.{did_you_mean(unknown, known)}"
        )


def did_you_mean(unknown: Sequence[str], known: Sequence[str]) -> str:
    """A question that names the known word nearest to each unknown one; empty where none is near."""
    near = [hint for name in unknown for hint in get_close_matches(name, known, 1)]
    return f" Did you mean {', '.join(near)}?" if near else ""


def shared_space(source: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The projections of a CLIP-like model into its shared space. SigLIP's towers end in that space: theirs are the
    identity."""
    weights = {name: value.detach() for name, value in source.named_parameters()}
    if "visual_projection.weight" not in weights:
        identity = torch.eye(source.config.vision_config.hidden_size)
        weights |= {"visual_projection.weight": identity, "text_projection.weight": identity.clone()}
    return {name: weights[name] for name in ("visual_projection.weight", "text_projection.weight")}


def put_towers(
    model: Any, weights: dict[str, torch.Tensor], source: str, untrained: frozenset[str] = frozenset()
) -> None:
    """Load tower weights into a model made for them, which notes what started from them; where parts have a projection
    of their own, it starts as the vision tower's.

    Args:
        untrained: names of weights that no checkpoint held.

    Raises:
        ValueError: a weight without a place in the model or of another size than its place; a layer without weights.
    """
    places = model.state_dict()
    lacking = [name for name in places if name.startswith(("vision_model.", "text_model.")) and name not in weights]
    if lacking:
        raise ValueError(f"{source} has no {lacking[0]}, which the configuration asks for: leave out the setting.")
    for name, weight in weights.items():
        if name not in places:
            raise ValueError(f"{source}: the tower weight {name} has no place in the model.")
        if places[name].shape != weight.shape:
            raise ValueError(
                f"{source} has {name} of size {tuple(weight.shape)}, the configuration asks for "
                f"{tuple(places[name].shape)}: leave out the field that asks for another size."
            )
    model.load_state_dict(weights, strict=False)
    started = set(weights) - untrained
    if model.part_visual_projection is not None and "visual_projection.weight" in weights:
        model.part_visual_projection.load_state_dict(model.visual_projection.state_dict())
        started.add("part_visual_projection.weight")
    model.from_checkpoint = frozenset(started)


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
