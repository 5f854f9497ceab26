"""CLIP's and SigLIP's vision towers for pictures of any (H, W): Transformers' own with another position table."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPVisionModel, PreTrainedConfig, SiglipVisionModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.modeling_clip import CLIPEncoder, CLIPVisionEmbeddings
from transformers.models.siglip.modeling_siglip import (
    SiglipEncoder,
    SiglipMultiheadAttentionPoolingHead,
    SiglipVisionEmbeddings,
)

from .configuration_tbps import as_pair
from .initialisation_tbps import WhollyInitialised


def make_patch_tables(embeddings: Any, config: PreTrainedConfig, prefix: int, bias: bool) -> None:
    """Give `embeddings` a patch embedding and a position table of prefix + (H/p)(W/p) rows; the stock one is square."""
    embeddings.config = config
    embeddings.embed_dim = config.hidden_size
    embeddings.image_size = as_pair(config.image_size)
    embeddings.patch_size = as_pair(config.patch_size)
    embeddings.patch_embedding = nn.Conv2d(
        config.num_channels,
        config.hidden_size,
        kernel_size=embeddings.patch_size,
        stride=embeddings.patch_size,
        bias=bias,
    )
    rows, columns = (size // patch for size, patch in zip(embeddings.image_size, embeddings.patch_size, strict=True))
    embeddings.num_patches = rows * columns
    embeddings.num_positions = embeddings.num_patches + prefix
    embeddings.position_embedding = nn.Embedding(embeddings.num_positions, config.hidden_size)
    positions = torch.arange(embeddings.num_positions).expand((1, -1))
    embeddings.register_buffer("position_ids", positions, persistent=False)


def embed_patches(embeddings: Any, pixel_values: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, rows * columns, width)."""
    pixel_values = pixel_values.to(embeddings.patch_embedding.weight.dtype)
    return embeddings.patch_embedding(pixel_values).flatten(2).transpose(1, 2)


def refuse_interpolation(asked: bool | None) -> None:
    """The stock embeddings resize their table at every call, from a square grid."""
    if asked:
        raise ValueError(
            "interpolate_pos_encoding=True: the position table is resized once, when a checkpoint is adapted to an "
            "image size (TBPSModel.from_vision_text_pretrained(..., image_size=...)), never at a call."
        )


class RectangularVisionEmbeddings(CLIPVisionEmbeddings):
    """CLIP's: class token, patches, positions."""

    def __init__(self, config: PreTrainedConfig) -> None:
        nn.Module.__init__(self)  # the parent's would build the square table
        make_patch_tables(self, config, prefix=1, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(self.embed_dim))

    def forward(self, pixel_values: torch.Tensor, interpolate_pos_encoding: bool | None = False) -> torch.Tensor:
        """(B, C, H, W) -> (B, 1 + rows * columns, width).

        Raises:
            ValueError: `interpolate_pos_encoding`.
        """
        refuse_interpolation(interpolate_pos_encoding)
        patches = embed_patches(self, pixel_values)
        tokens = torch.cat([self.class_embedding.expand(patches.shape[0], 1, -1), patches], dim=1)
        return tokens + self.position_embedding(self.position_ids)


class RectangularSiglipEmbeddings(SiglipVisionEmbeddings):
    """SigLIP's: patches and positions."""

    def __init__(self, config: PreTrainedConfig) -> None:
        nn.Module.__init__(self)  # the parent's would build the square table
        make_patch_tables(self, config, prefix=0, bias=True)

    def forward(self, pixel_values: torch.Tensor, interpolate_pos_encoding: bool | None = False) -> torch.Tensor:
        """(B, C, H, W) -> (B, rows * columns, width).

        Raises:
            ValueError: `interpolate_pos_encoding`.
        """
        refuse_interpolation(interpolate_pos_encoding)
        return embed_patches(self, pixel_values) + self.position_embedding(self.position_ids)


class CLIPVisionTower(WhollyInitialised, CLIPVisionModel):
    """CLIP's vision model for any (H, W), whose `last_hidden_state` is post-norm (the stock one norms only CLS)."""

    def __init__(self, config: PreTrainedConfig) -> None:
        super(CLIPVisionModel, self).__init__(config)  # the parent's parts, with other embeddings
        self.embeddings = RectangularVisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = CLIPEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """(B, C, H, W) -> last_hidden_state (B, N, width) and pooler_output (B, width), both after the norm."""
        output = super().forward(pixel_values, **kwargs)
        output.last_hidden_state = self.post_layernorm(output.last_hidden_state)
        return output


class PoolingAttention(nn.MultiheadAttention):
    """torch's own, which takes the weights of its output projection without calling it: where weights are offloaded,
    they are there only while their module is called."""

    def forward(  # type: ignore[override]
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
        """(B, M, width) and twice (B, N, width) -> (B, M, width)."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        heads = (
            F.linear(x, weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        return self.out_proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)), None


class SiglipVisionTower(WhollyInitialised, SiglipVisionModel):
    """SigLIP's vision model for any (H, W)."""

    def __init__(self, config: PreTrainedConfig) -> None:
        super(SiglipVisionModel, self).__init__(config)  # the parent's parts, with other embeddings
        self.embeddings = RectangularSiglipEmbeddings(config)
        self.encoder = SiglipEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.use_head = config.vision_use_head
        if self.use_head:
            self.head = SiglipMultiheadAttentionPoolingHead(config)
            self.head.attention = PoolingAttention(config.hidden_size, config.num_attention_heads, batch_first=True)
        self.post_init()
