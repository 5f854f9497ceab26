"""The part decoder: K learnable queries read the tokens of either modality and give K part embeddings.

Parts read words and patches only. The first section says which tokens of a text those are.
"""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_tbps import TBPSConfig

TOKEN_NAMES = ("bos_token_id", "eos_token_id", "pad_token_id")  # in configurations and in tokenizers
SMALLEST = 1e-8  # a part that wins no token gets attention 0 instead of NaN
FARTHEST = 9.0  # largest squared distance to a stripe, so that every patch stays within reach


# -- words and special tokens


def content_mask(
    input_ids: torch.Tensor, attention_mask: torch.Tensor | None, special_ids: list[int], end_id: int | list[int] | None
) -> torch.Tensor:
    """Mark the words of texts: (B, L) bool, False on padding, special tokens and everything after the end token."""
    content = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    for special in special_ids:
        content = content & (input_ids != special)
    if isinstance(end_id, int):  # after an end token, padding needs no id of its own
        content = content & ((input_ids == end_id).cumsum(dim=1) == 0)
    return content | ~content.any(dim=1, keepdim=True)  # a text without words: all its tokens, so that nothing is NaN


def special_tokens(
    checkpoint: str, text_config: PreTrainedConfig, given: list[int] | None, chosen: Collection[str] = ()
) -> list[int] | None:
    """Find the ids that parts must not look at, and set those that have a name in `text_config`.

    The checkpoint's tokenizer knows them best: configurations name few of them (BERT), wrong ones (SigLIP), or an end
    token of a smaller vocabulary (CLIP).

    Args:
        given: ids that the user gave, which are returned as they are.
        chosen: settings of `text_config` that the user gave, by name, which stay as they are.

    Returns:
        The field `special_token_ids`; None if there is no tokenizer and the configuration names the ids itself.

    Raises:
        ValueError: there is no tokenizer, and the configuration names neither an end nor a separator; or `given` has
            ids that are not in the vocabulary.
    """
    tokenizer = find_tokenizer(checkpoint)
    for name in TOKEN_NAMES:
        if tokenizer is not None and name not in chosen and getattr(tokenizer, name) is not None:
            setattr(text_config, name, getattr(tokenizer, name))
    if given is not None:
        if outside := [token for token in given if not 0 <= token < text_config.vocab_size]:
            raise ValueError(
                f"special_token_ids={given}: {outside} are not in the vocabulary of {text_config.vocab_size} tokens."
            )
        return given
    if tokenizer is not None:
        own = {token for name in TOKEN_NAMES if name in chosen and isinstance(token := getattr(text_config, name), int)}
        return sorted((set(tokenizer.all_special_ids) | own) - {tokenizer.unk_token_id})
    named = (getattr(text_config, f"{name}_token_id", None) for name in ("eos", "sep"))
    if not any(isinstance(token, int) and token < text_config.vocab_size for token in named):
        raise ValueError(
            f"{checkpoint} has no tokenizer that names special tokens, and its configuration names none either. Parts "
            "must not look at them: save the tokenizer there, or give special_token_ids=[...] (begin, end, padding)."
        )
    return None


def find_tokenizer(checkpoint: str) -> PreTrainedTokenizerBase | None:
    """Load the checkpoint's tokenizer; return None if there is none, or if it names no special tokens.

    Where a checkpoint has no tokenizer, Transformers may make one of special tokens alone. That counts as none.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    except (OSError, ValueError):
        return None
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    return tokenizer if special and len(tokenizer) > len(tokenizer.all_special_ids) else None


# -- attention of part queries


def over_tokens(scores: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """Normalise over tokens, plain attention: each part distributes its attention whatever other parts look at."""
    return scores.masked_fill(~content, torch.finfo(scores.dtype).min).softmax(dim=-1)


def over_parts(scores: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """Normalise over parts, which compete for each token (slot attention, Locatello et al., NeurIPS 2020)."""
    return normalise_rows(scores.softmax(dim=-2) * content)


def over_both(scores: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
    """Multiply both (dual softmax, LoFTR, Sun et al., CVPR 2021, eq. 2) and normalise the rows again.

    Among the tokens that a part won, it picks the few that it looks for. A slot would average much background.
    """
    return normalise_rows(scores.softmax(dim=-2) * over_tokens(scores, content))


def normalise_rows(weights: torch.Tensor) -> torch.Tensor:
    """Divide each row of non-negative weights (..., N) by its sum."""
    return weights / weights.sum(dim=-1, keepdim=True).clamp_min(SMALLEST)


# (B, h, K, N) float32 scores and (B, 1, 1, N) bool content -> weights of the scores' shape, whose rows sum to 1
NORMALISATION = {"tokens": over_tokens, "parts": over_parts, "both": over_both}


class PartAttention(nn.Module):
    """Multi-head cross-attention from part queries (B, K, D) to tokens (B, N, D)."""

    def __init__(self, config: TBPSConfig) -> None:
        super().__init__()
        self.config = config
        self.num_heads = config.decoder_attention_heads
        self.head_dim = config.projection_dim // self.num_heads
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
        """Attend from parts to tokens.

        Args:
            queries: (B, K, D).
            tokens: (B, N, D).
            content: (B, N) bool, True for tokens to look at; at least one in every row.
            need_weights: compute the weights even if the fused kernel could do without.
            keys: (B, N, D) that choose among the tokens; None takes the tokens themselves.
            places: (K, N) added to the scores: where each part looks, whatever is there.

        Returns:
            (B, K, D), and the weights (B, heads, K, N) or None if they were not computed.
        """
        query, key, value = (
            x.view(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)
            for x in (self.q_proj(queries), self.k_proj(tokens if keys is None else keys), self.v_proj(tokens))
        )
        content = content[:, None, None, :]
        fused = self.config.part_attention == "tokens" and self.config._attn_implementation != "eager"
        if fused and not need_weights:  # torch's own kernel, whatever the towers use: there are few queries
            weights = None
            mask = content if places is None else places.masked_fill(~content, -torch.inf).to(query.dtype)
            out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            scores = (query @ key.transpose(-1, -2)).float() * self.head_dim**-0.5
            scores = scores if places is None else scores + places.float()
            weights = NORMALISATION[self.config.part_attention](scores, content).to(value.dtype)
            out = weights @ value
        return self.out_proj(out.transpose(1, 2).reshape(queries.shape)), weights


# -- the decoder


class PartDecoderLayer(GradientCheckpointingLayer):
    """Pre-norm cross-attention to the tokens, then a two-layer perceptron; shared by images and texts."""

    def __init__(self, config: TBPSConfig) -> None:
        super().__init__()
        width = config.projection_dim
        self.cross_attn_norm = nn.LayerNorm(width)
        self.cross_attn = PartAttention(config)
        self.mlp_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

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
        parts = parts + read
        parts = parts + self.fc2(F.gelu(self.fc1(self.mlp_norm(parts))))
        return parts, weights


class PartDecoder(nn.Module):
    """K queries turn tokens into K part embeddings of unit norm (arXiv 2501.00318).

    Images and texts share the queries and the layers, so that part k means the same in both. Only the LayerNorm of keys
    and values is per modality.
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
        """Decode the parts of a batch of one modality.

        Args:
            tokens: (B, N, D) projected tokens.
            content: (B, N) bool, False for padding and special tokens.
            output_attentions: return the attention of the last layer.
            keys: (B, N, D) by which parts choose among the tokens; None takes the tokens themselves.
            patches: whether the tokens are an image's. Its last tokens are patches, with positions (`self.place_bias`).

        Returns:
            Parts (B, K, d) of unit norm; the states (B, K, D) that they were projected from; and the attention
            (B, K, N) of the last layer, mean over heads, or None.
        """
        norm = self.image_norm if patches else self.text_norm
        tokens, keys = norm(tokens), None if keys is None else norm(keys)
        parts = self.queries.to(tokens.dtype).expand(tokens.shape[0], -1, -1)  # (B, K, D)
        content = content | ~content.any(dim=1, keepdim=True)  # a row without content looks at everything, not at NaN
        places = None
        if patches and self.place_bias is not None:  # CLS and the like come before the patches
            places = F.pad(self.place_bias, (tokens.shape[1] - self.place_bias.shape[1], 0))
        weights = None
        for layer in self.layers:
            parts, weights = layer(parts, tokens, content, output_attentions, keys, places)
        states = self.final_norm(parts)
        attention = weights.mean(dim=1) if output_attentions and weights is not None else None
        return F.normalize(self.part_projection(states), dim=-1), states, attention


def stripes(config: TBPSConfig) -> torch.Tensor:
    """Initial scores of parts and patches: (K, patches).

    For each of the first S = `striped_parts` parts, it is minus the squared distance to the middle of its stripe, in
    heights of a stripe. For the others it is everywhere that of a neighbouring stripe.
    """
    rows, columns = config.patch_grid
    count = config.striped_parts
    height = (torch.arange(rows) + 0.5) / rows * count - 0.5  # of each row of patches, in stripes
    own = -(height - torch.arange(count)[:, None]).square().clamp_max(FARTHEST)
    return torch.cat([own, own.new_full((config.num_parts - count, rows), -1)]).repeat_interleave(columns, dim=1)
