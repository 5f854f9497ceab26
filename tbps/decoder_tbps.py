"""The part decoder: K learnable queries read the tokens of either modality and give K part embeddings."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_tbps import PartAttention
from .configuration_tbps import TBPSConfig

FARTHEST = 9.0  # squared distance to a stripe from which on a patch is no farther, so that no place is out of reach


class PartDecoderLayer(GradientCheckpointingLayer):
    """Pre-norm cross-attention to the tokens, then a two-layer perceptron; shared by images and sentences."""

    def __init__(self, config: TBPSConfig) -> None:
        super().__init__()
        width = config.projection_dim
        hidden = config.decoder_intermediate_size or 4 * width
        self.cross_attn_norm = nn.LayerNorm(width)
        self.cross_attn = PartAttention(config)
        self.mlp_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(config.decoder_dropout)

    def forward(
        self,
        parts: torch.Tensor,
        tokens: torch.Tensor,
        content: torch.Tensor,
        need_weights: bool,
        keys: torch.Tensor | None,
        places: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B, K, D), (B, N, D) -> (B, K, D) and the attention (B, heads, K, N) or None (see `PartAttention`)."""
        read, weights = self.cross_attn(self.cross_attn_norm(parts), tokens, content, need_weights, keys, places)
        parts = parts + self.dropout(read)
        parts = parts + self.dropout(self.fc2(F.gelu(self.fc1(self.mlp_norm(parts)))))
        return parts, weights


class PartDecoder(nn.Module):
    """K queries, shared by both modalities, turn tokens into K unit part embeddings (arXiv 2501.00318).

    Queries and layers are one and the same for images and sentences, so that part k means the same thing in both; only
    the LayerNorm of keys and values is per modality.
    """

    def __init__(self, config: TBPSConfig) -> None:
        super().__init__()
        self.config = config
        self.queries = nn.Parameter(torch.empty(config.num_parts, config.projection_dim))
        rows, columns = config.patch_grid
        self.place_bias = nn.Parameter(torch.empty(config.num_parts, rows * columns)) if config.striped_parts else None
        self.image_norm = nn.LayerNorm(config.projection_dim)
        self.text_norm = nn.LayerNorm(config.projection_dim)
        self.layers = nn.ModuleList(PartDecoderLayer(config) for _ in range(config.decoder_layers))
        self.final_norm = nn.LayerNorm(config.projection_dim)
        self.part_projection = nn.Linear(config.projection_dim, config.part_dim)

    def forward(
        self,
        tokens: torch.Tensor,
        content: torch.Tensor,
        output_attentions: bool = False,
        keys: torch.Tensor | None = None,
        patches: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """
        Args:
            tokens: (B, N, D) projected tokens of one modality.
            content: (B, N) bool, False where a token is padding or special and may not be looked at;
                True somewhere in every row.
            keys: (B, N, D) by which the parts choose among the tokens that they read; None: by the tokens themselves.
            patches: whether they are a picture's, whose last tokens are patches and have places (`self.place_bias`).
        Returns:
            parts (B, K, d) of unit norm; what they were projected from, (B, K, D); and the last layer's attention
            (B, K, N), mean over heads, where `output_attentions`, else None.
        """
        norm = self.image_norm if patches else self.text_norm
        tokens, keys = norm(tokens), None if keys is None else norm(keys)
        parts = self.queries.to(tokens.dtype).expand(tokens.shape[0], -1, -1)  # (B, K, D)
        content = content | ~content.any(dim=1, keepdim=True)  # a row without content looks at everything, not at NaN
        places = None
        if patches and self.place_bias is not None:  # CLS and its kin stand before the patches
            places = F.pad(self.place_bias, (tokens.shape[1] - self.place_bias.shape[1], 0))
        weights = None
        for layer in self.layers:
            parts, weights = layer(parts, tokens, content, output_attentions, keys, places)
        states = self.final_norm(parts)
        attention = weights.mean(dim=1) if output_attentions and weights is not None else None
        return F.normalize(self.part_projection(states), dim=-1), states, attention


def stripes(config: TBPSConfig) -> torch.Tensor:
    """(K, patches) scores that the parts start out with: of the first S = `striped_parts` less the squared distance to
    the middle of a stripe, in heights of a stripe; of the others, everywhere, that of a neighbouring stripe."""
    rows, columns = config.patch_grid
    count = config.striped_parts
    height = (torch.arange(rows) + 0.5) / rows * count - 0.5  # of each row of patches, in stripes
    own = -(height - torch.arange(count)[:, None]).square().clamp_max(FARTHEST)
    return torch.cat([own, own.new_full((config.num_parts - count, rows), -1)]).repeat_interleave(columns, dim=1)
