"""The part decoder: K learnable queries read the tokens of either modality and give K part embeddings.

Which tokens of a text tower are no words.

Attention of the part queries to tokens, normalised over tokens, over parts (slots), or over both.
"""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_tbps import TBPSConfig

NAMES = ("bos_token_id", "eos_token_id", "pad_token_id")  # in configurations and in tokenizers


def special_tokens(
    checkpoint: str, text_config: PreTrainedConfig, given: list[int] | None, stated: Collection[str] = ()
) -> list[int] | None:
    """Which ids the parts must not look at: those of the checkpoint's own tokenizer, also set in `text_config`, as
    configurations name few of them (BERT's) or wrong ones (SigLIP's; CLIP's end token, where its vocabulary grew).

    Args:
        given: ids that were chosen, which then count. stated: names of settings of `text_config` that were chosen,
            which stay as they are.
    Returns:
        the field `special_token_ids`; None where there is no tokenizer and the configuration names them itself.

    Raises:
        ValueError: no tokenizer, and a configuration that names neither an end nor a separator; ids that are given and
            not in the vocabulary.
    """
    tokenizer = find_tokenizer(checkpoint)
    for name in NAMES:
        if tokenizer is not None and name not in stated and getattr(tokenizer, name) is not None:
            setattr(text_config, name, getattr(tokenizer, name))
    if given is not None:
        if outside := [token for token in given if not 0 <= token < text_config.vocab_size]:
            raise ValueError(
                f"special_token_ids={given}: {outside} are not in the vocabulary of {text_config.vocab_size} tokens."
            )
        return given
    if tokenizer is not None:
        chosen = {token for name in NAMES if name in stated and isinstance(token := getattr(text_config, name), int)}
        return sorted((set(tokenizer.all_special_ids) | chosen) - {tokenizer.unk_token_id})
    named = (getattr(text_config, f"{name}_token_id", None) for name in ("eos", "sep"))
    if not any(isinstance(token, int) and token < text_config.vocab_size for token in named):
        raise ValueError(
            f"{checkpoint} has no tokenizer that names special tokens, and neither does its configuration; the parts "
            "must not look at them: save the tokenizer there, or give special_token_ids=[...] (begin, end, padding)."
        )
    return None


def find_tokenizer(checkpoint: str) -> PreTrainedTokenizerBase | None:
    """The checkpoint's tokenizer, if it has one that names special tokens: where it has none Transformers makes some of
    special tokens alone, and a vocabulary alone names none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    except (OSError, ValueError):
        return None
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    return tokenizer if special and len(tokenizer) > len(tokenizer.all_special_ids) else None


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
