"""Attention of the part queries to tokens, normalised over tokens, over parts (slots), or over both."""

import torch
import torch.nn.functional as F
from torch import nn

from .configuration_tbps import TBPSConfig

SMALLEST = 1e-8  # keeps a part that won nothing at zero attention instead of NaN


def over_tokens(scores: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """Each part spreads its attention over the tokens, whatever other parts look at: plain attention."""
    return scores.masked_fill(~content, torch.finfo(scores.dtype).min).softmax(dim=-1)


def over_parts(scores: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """Parts compete for each token, then average what they won (slot attention, Locatello et al., NeurIPS 2020)."""
    return shares(scores.softmax(dim=-2) * content)


def over_both(scores: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """The product of both (the dual softmax of LoFTR, Sun et al., CVPR 2021, eq. 2), its rows normalised again: of the
    tokens that a part won it picks the few it looks for, where a slot would average much background."""
    return shares(scores.softmax(dim=-2) * over_tokens(scores, content))


def shares(won: torch.Tensor) -> torch.Tensor:
    """Non-negative (..., N), each row divided by its sum."""
    return won / won.sum(dim=-1, keepdim=True).clamp_min(SMALLEST)


# (B, h, K, N) float32 scores and bool content (B, 1, 1, N) -> weights of the scores' shape, whose rows sum to 1
NORMALISATION = {"tokens": over_tokens, "parts": over_parts, "both": over_both}


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
        self,
        queries: torch.Tensor,
        tokens: torch.Tensor,
        content: torch.Tensor,
        need_weights: bool,
        keys: torch.Tensor | None = None,
        places: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            queries: (B, K, D). tokens: (B, N, D). content: (B, N) bool, True where a token may be looked at, somewhere
                in every row. need_weights: compute the weights even where the fused kernel would do without.
            keys: (B, N, D) by which tokens are chosen, where it is not by themselves.
            places: (K, N) added to the scores: where each part looks whatever is there.
        Returns:
            (B, K, D) and, where they were computed, the weights (B, heads, K, N).
        """
        query, key, value = (
            x.view(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)
            for x in (self.q_proj(queries), self.k_proj(tokens if keys is None else keys), self.v_proj(tokens))
        )
        dropout = self.dropout if self.training else 0.0
        content = content[:, None, None, :]
        fused = self.config.part_attention == "tokens" and self.config._attn_implementation != "eager"
        if fused and not need_weights:  # torch's own kernel whatever the towers use: K queries are few
            weights = None
            mask = content if places is None else places.masked_fill(~content, -torch.inf).to(query.dtype)
            out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        else:
            scores = (query @ key.transpose(-1, -2)).float() * self.head_dim**-0.5
            scores = scores if places is None else scores + places.float()
            weights = NORMALISATION[self.config.part_attention](scores, content).to(value.dtype)
            out = F.dropout(weights, p=dropout) @ value
        return self.out_proj(out.transpose(1, 2).reshape(queries.shape)), weights
