"""The part decoder: K learnable queries read the tokens of either modality and give K part embeddings."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_tbps import TBPSConfig


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain attention that also returns its weights: (B, h, K, c) x (B, h, N, c) -> (B, K, h, c) and (B, h, K, N)."""
    scores = query @ key.transpose(-1, -2) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    dropped = F.dropout(weights, p=dropout, training=module.training)
    return (dropped @ value).transpose(1, 2).contiguous(), weights


class PartAttention(nn.Module):
    """Multi-head cross-attention from part queries (B, K, D) to tokens (B, N, D)."""

    def __init__(self, config: TBPSConfig) -> None:
        super().__init__()
        self.config = config
        self.num_heads = config.decoder_attention_heads
        self.head_dim = config.projection_dim // self.num_heads
        self.dropout = config.decoder_dropout
        self.is_causal = False
        self.q_proj = nn.Linear(config.projection_dim, config.projection_dim)
        self.k_proj = nn.Linear(config.projection_dim, config.projection_dim)
        self.v_proj = nn.Linear(config.projection_dim, config.projection_dim)
        self.out_proj = nn.Linear(config.projection_dim, config.projection_dim)

    def forward(
        self, queries: torch.Tensor, tokens: torch.Tensor, attention_mask: torch.Tensor | None, need_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns (B, K, D) and, where `need_weights`, the attention (B, heads, K, N)."""

        def heads(x: torch.Tensor) -> torch.Tensor:
            return x.view(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

        attend: Callable[..., tuple[torch.Tensor, torch.Tensor | None]] = eager_attention_forward
        if not need_weights:  # the fused kernels return none
            attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        out, weights = attend(
            self,
            heads(self.q_proj(queries)),
            heads(self.k_proj(tokens)),
            heads(self.v_proj(tokens)),
            attention_mask,
            scaling=self.head_dim**-0.5,
            dropout=self.dropout if self.training else 0.0,
        )
        return self.out_proj(out.reshape(queries.shape)), weights


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
        self, parts: torch.Tensor, tokens: torch.Tensor, attention_mask: torch.Tensor | None, need_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B, K, D), (B, N, D) -> (B, K, D) and the attention (B, heads, K, N) or None."""
        read, weights = self.cross_attn(self.cross_attn_norm(parts), tokens, attention_mask, need_weights)
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
        self.image_norm = nn.LayerNorm(config.projection_dim)
        self.text_norm = nn.LayerNorm(config.projection_dim)
        self.layers = nn.ModuleList(PartDecoderLayer(config) for _ in range(config.decoder_layers))
        self.final_norm = nn.LayerNorm(config.projection_dim)
        self.part_projection = nn.Linear(config.projection_dim, config.part_dim)

    def forward(
        self, tokens: torch.Tensor, norm: nn.LayerNorm, content: torch.Tensor, output_attentions: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            tokens: (B, N, D) projected tokens of one modality. norm: `self.image_norm` or `self.text_norm`.
            content: (B, N) bool, False where a token is padding or special and may not be looked at;
                True somewhere in every row.
        Returns:
            parts (B, K, d) of unit norm, and the last layer's attention (B, K, N), mean over heads, or None.
        """
        tokens = norm(tokens)
        parts = self.queries.to(tokens.dtype).expand(len(tokens), -1, -1)  # (B, K, D)
        mask = content | ~content.any(dim=1, keepdim=True)  # a row without content looks at everything, not at NaN
        config = self.config
        attention_mask = create_bidirectional_mask(config, parts, mask, encoder_hidden_states=tokens)
        if output_attentions:
            attention_mask = torch.zeros_like(mask, dtype=tokens.dtype).masked_fill(
                ~mask, torch.finfo(tokens.dtype).min
            )
            attention_mask = attention_mask[:, None, None, :]
        weights = None
        for layer in self.layers:
            parts, weights = layer(parts, tokens, attention_mask, output_attentions)
        parts = F.normalize(self.part_projection(self.final_norm(parts)), dim=-1)
        return parts, None if weights is None else weights.mean(dim=1)
