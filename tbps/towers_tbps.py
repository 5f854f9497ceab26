"""CLIP's and SigLIP's vision towers for pictures of any (H, W): Transformers' own with another position table.

One habit of Transformers that models outside it must switch off, or start from the wrong weights.

What a text tower needs besides its own code: SigLIP's fixed length, and which tokens are words.

The two towers: Transformers' own encoders, ours where they cannot do what is needed, and a conv stem before them.

How a modality's tokens become its global embedding, before normalisation.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    AutoModel,
    CLIPVisionModel,
    PreTrainedConfig,
    PreTrainedModel,
    SiglipTextModel,
    SiglipVisionModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.modeling_clip import CLIPEncoder, CLIPVisionEmbeddings
from transformers.models.siglip.modeling_siglip import (
    SiglipEncoder,
    SiglipMultiheadAttentionPoolingHead,
    SiglipVisionEmbeddings,
)

from .configuration_tbps import as_pair


class WhollyInitialised:
    """Mixin of every model class here: random weights as `_init_weights` asks for them, in every module.

    Transformers 5.23 takes a module that has no parameter of its own (a layer, an attention) for initialised where the
    class is not its own, to spare weights that foreign code would draw again: what `_init_weights` says of that module
    is never done. Ours, and the towers' own, draw no weight again.
    """

    @classmethod
    def is_custom_code(cls) -> bool:
        """False, though it is."""
        return False


class SiglipTextTower(WhollyInitialised, SiglipTextModel):
    """SigLIP's text model at the length that it was trained with, however the sentences were padded.

    SigLIP pools the last position, which is padding in all but the longest sentences, and attends to padding too: a
    batch padded to its own longest sentence would give a sentence another embedding than the next batch.
    """

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """(B, L) -> last_hidden_state (B, L, width), of the sentence's own tokens, and pooler_output (B, width).

        Hidden states and attentions, where asked for, have the full length.

        Raises:
            ValueError: `position_ids` are given.

        Args:
            attention_mask: says which tokens are padding of any id; the tower itself reads SigLIP's own padding there.
        """
        if kwargs.pop("position_ids", None) is not None:
            raise ValueError("position_ids: SigLIP's text tower reads every sentence at its full length, from 0 on.")
        length, pad = input_ids.shape[1], self.config.pad_token_id
        if attention_mask is not None:
            input_ids = input_ids.masked_fill(attention_mask == 0, pad)
        padded = F.pad(input_ids, (0, self.config.max_position_embeddings - length), value=pad)
        output = super().forward(padded, **kwargs)
        own = torch.arange(length, device=input_ids.device)  # a slice would be exported for shorter sentences only
        output.last_hidden_state = output.last_hidden_state.index_select(1, own)
        return output


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


TOWERS: dict[str, type[PreTrainedModel]] = {
    "clip_vision_model": CLIPVisionTower,
    "siglip_vision_model": SiglipVisionTower,
    "siglip_text_model": SiglipTextTower,
}


def build_tower(config: PreTrainedConfig) -> PreTrainedModel:
    """An encoder with random weights from its configuration: ours where Transformers' own cannot do it, else theirs.

    Its numbers are of the type that the whole model is made in, whatever its own checkpoint was stored in.
    """
    own = TOWERS.get(config.model_type)
    dtype = torch.get_default_dtype()
    return own._from_config(config, dtype=dtype) if own else AutoModel.from_config(config, dtype=dtype)


def freeze_unused(tower: PreTrainedModel, pools: bool) -> None:
    """Exempt from training what gets no gradient, for which DistributedDataParallel would wait in vain: the token for
    masked patches, which only pre-training knows, and the tower's own pooling unless it `pools`."""
    unused = ("embeddings.mask_token", *(() if pools else ("pooler.", "head.")))
    for name, parameter in tower.named_parameters():
        if name.startswith(unused):
            parameter.requires_grad_(False)


class ConvStem(nn.Sequential):
    """3x3 stride-2 convolutions before the patch embedding (Xiao et al., NeurIPS 2021): (B, 3, H, W) ->
    (B, C, H/2^n, W/2^n). GroupNorm, so that an embedding does not depend on the rest of the batch.

    Such a convolution has no middle among two pixels: padded at the top left, as equal padding comes to, it sees half a
    pixel up and left of its own place. The last one is padded at the bottom right, which makes up for all before it: a
    place of the map sees the square of the picture that it stands for, half a pixel off, and attention shows where it
    looked.
    """

    def __init__(self, channels: list[int]) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([3, *channels]):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2), nn.GroupNorm(1, outputs), nn.GELU()]
        super().__init__(*layers)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, C, H/2^n, W/2^n)."""
        last = len(self) - 3
        for place, layer in enumerate(self):
            if isinstance(layer, nn.Conv2d):
                pixel_values = F.pad(pixel_values, (0, 1, 0, 1) if place == last else (1, 0, 1, 0))
            pixel_values = layer(pixel_values)
        return pixel_values


def tower_pooling(
    projection: nn.Linear, output: BaseModelOutputWithPooling, tokens: torch.Tensor, content: torch.Tensor
) -> torch.Tensor:
    """What the tower itself pools, projected: (B, D).

    Raises:
        ValueError: the tower pools nothing.
    """
    if output.get("pooler_output") is None:
        raise ValueError("A tower has no pooled output of its own: use pooling='mean' or pooling='max'.")
    return projection(output.pooler_output)


def max_pooling(
    projection: nn.Linear, output: BaseModelOutputWithPooling, tokens: torch.Tensor, content: torch.Tensor
) -> torch.Tensor:
    """Maximum over words or patches of the projected tokens (B, N, D), less its mean over D: (B, D).

    The maximum of N numbers lifts all D alike, for every image and sentence. Kept in, that shared part is nearly all of
    a unit vector: at random weights two images' cosine is 0.94, without it 0.57, and training starts sooner.
    """
    highest = tokens.masked_fill(~content[:, :, None], torch.finfo(tokens.dtype).min).amax(dim=1)
    return highest - highest.mean(dim=1, keepdim=True)


def mean_pooling(
    projection: nn.Linear, output: BaseModelOutputWithPooling, tokens: torch.Tensor, content: torch.Tensor
) -> torch.Tensor:
    """Mean over words or patches of the projected tokens (B, N, D): (B, D)."""
    weights = content.to(tokens.dtype)
    return (tokens * weights[:, :, None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)


POOLING = {"tower": tower_pooling, "max": max_pooling, "mean": mean_pooling}
