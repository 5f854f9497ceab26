"""The two towers: Transformers' own encoders, plus what they cannot do (a non-square position table, a conv stem)."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel, CLIPVisionModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.modeling_clip import CLIPEncoder, CLIPVisionEmbeddings

from .configuration_tbps import as_pair


class RectangularVisionEmbeddings(CLIPVisionEmbeddings):
    """CLIP's patch embedding with a position table of (H/p)(W/p)+1 rows, for any (H, W); the stock one is square."""

    def __init__(self, config: PreTrainedConfig) -> None:
        nn.Module.__init__(self)  # the parent's would build the square table
        self.config = config
        self.embed_dim = config.hidden_size
        self.image_size = as_pair(config.image_size)
        self.patch_size = as_pair(config.patch_size)
        self.class_embedding = nn.Parameter(torch.empty(self.embed_dim))
        self.patch_embedding = nn.Conv2d(
            config.num_channels, self.embed_dim, kernel_size=self.patch_size, stride=self.patch_size, bias=False
        )
        rows, columns = (size // patch for size, patch in zip(self.image_size, self.patch_size, strict=True))
        self.num_patches = rows * columns
        self.num_positions = self.num_patches + 1
        self.position_embedding = nn.Embedding(self.num_positions, self.embed_dim)
        self.register_buffer("position_ids", torch.arange(self.num_positions).expand((1, -1)), persistent=False)

    def forward(self, pixel_values: torch.Tensor, interpolate_pos_encoding: bool = False) -> torch.Tensor:
        """(B, C, H, W) -> (B, 1 + rows * columns, width).

        Raises:
            ValueError: a picture of another size than the table's, or `interpolate_pos_encoding`.
        """
        if interpolate_pos_encoding:
            raise ValueError(
                "interpolate_pos_encoding=True: the position table is resized once, when a checkpoint is adapted to an "
                "image size (TBPSModel.from_vision_text_pretrained(..., image_size=...)), never at a call."
            )
        if tuple(pixel_values.shape[-2:]) != self.image_size:
            raise ValueError(
                f"Pictures of {pixel_values.shape[-2]}x{pixel_values.shape[-1]} (height x width) do not fit a model "
                f"made for {self.image_size[0]}x{self.image_size[1]}: prepare them with the model's own processor."
            )
        patches = self.patch_embedding(pixel_values.to(self.patch_embedding.weight.dtype)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(len(patches), 1, -1), patches], dim=1)
        return tokens + self.position_embedding(self.position_ids)


class CLIPVisionTower(CLIPVisionModel):
    """CLIP's vision model for any (H, W), whose `last_hidden_state` is post-norm (the stock one norms only CLS)."""

    def __init__(self, config: PreTrainedConfig) -> None:
        super(CLIPVisionModel, self).__init__(config)  # the parent's parts, with other embeddings
        self.embeddings = RectangularVisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = CLIPEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @classmethod
    def is_custom_code(cls) -> bool:
        """False, as its weights are initialised by CLIP's own code; see `TBPSPreTrainedModel`."""
        return False

    def forward(self, pixel_values: torch.Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """(B, C, H, W) -> last_hidden_state (B, N, width) and pooler_output (B, width), both after the norm."""
        output = super().forward(pixel_values, **kwargs)
        output.last_hidden_state = self.post_layernorm(output.last_hidden_state)
        return output


VISION_TOWERS: dict[str, type[PreTrainedModel]] = {"clip_vision_model": CLIPVisionTower}


def build_tower(config: PreTrainedConfig) -> PreTrainedModel:
    """An encoder with random weights from its configuration: ours where Transformers' own cannot do it, else theirs."""
    own = VISION_TOWERS.get(config.model_type)
    return own._from_config(config) if own else AutoModel.from_config(config)


class ConvStem(nn.Sequential):
    """3x3 stride-2 convolutions before the patch embedding (Xiao et al., NeurIPS 2021): (B, 3, H, W) ->
    (B, C, H/2^n, W/2^n). GroupNorm, so that an embedding does not depend on the rest of the batch."""

    def __init__(self, channels: list[int]) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([3, *channels]):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(1, outputs), nn.GELU()]
        super().__init__(*layers)


def content_mask(
    input_ids: torch.Tensor, attention_mask: torch.Tensor | None, special_ids: list[int], end_id: int | None
) -> torch.Tensor:
    """(B, L) bool: True on the words of a sentence, False on padding, special tokens and all that follows the end."""
    content = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    for special in special_ids:
        content = content & (input_ids != special)
    if end_id is not None:  # padding needs no id of its own where the sentence has an end
        content = content & ((input_ids == end_id).cumsum(dim=1) == 0)
    return content | ~content.any(dim=1, keepdim=True)  # a row without words looks at all it has, not at NaN


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
