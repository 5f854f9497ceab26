"""The two towers: encoders of Transformers, ours where those cannot do what is needed, a stem, and pooling.

CLIP's and SigLIP's vision towers get a position table for images of any (H, W). SigLIP's text tower gets its fixed
length. The other towers are Transformers' own.
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


class FullInitialisation:
    """Mixin of every model class here that makes Transformers call `_init_weights` on every module.

    For classes that are not its own, Transformers 5.23 treats a module without parameters of its own (a layer, an
    attention) as initialised, so that other people's code does not draw its weights twice. It then skips the rules of
    `_init_weights` for that module. Our classes and the towers draw no weight twice.
    """

    @classmethod
    def is_custom_code(cls) -> bool:
        """Return False, although this is custom code."""
        return False


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


def refuse_interpolation(requested: bool | None) -> None:
    """Refuse `interpolate_pos_encoding`, with which the stock embeddings resize a square table at every call."""
    if requested:
        raise ValueError(
            "interpolate_pos_encoding=True: no call resizes the position table. Adapt the checkpoint to an image size "
            "once, with TBPSModel.from_vision_text_pretrained(..., image_size=...)."
        )


class RectangularVisionEmbeddings(CLIPVisionEmbeddings):
    """CLIP's embeddings (class token, patches, positions) for any (H, W)."""

    def __init__(self, config: PreTrainedConfig) -> None:
        nn.Module.__init__(self)  # the parent would build a square table
        make_patch_tables(self, config, prefix=1, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(self.embed_dim))

    def forward(self, pixel_values: torch.Tensor, interpolate_pos_encoding: bool | None = False) -> torch.Tensor:
        """(B, C, H, W) -> (B, 1 + rows * columns, width).

        Raises:
            ValueError: `interpolate_pos_encoding` is true.
        """
        refuse_interpolation(interpolate_pos_encoding)
        patches = embed_patches(self, pixel_values)
        tokens = torch.cat([self.class_embedding.expand(patches.shape[0], 1, -1), patches], dim=1)
        return tokens + self.position_embedding(self.position_ids)


class RectangularSiglipEmbeddings(SiglipVisionEmbeddings):
    """SigLIP's embeddings (patches, positions) for any (H, W)."""

    def __init__(self, config: PreTrainedConfig) -> None:
        nn.Module.__init__(self)  # the parent would build a square table
        make_patch_tables(self, config, prefix=0, bias=True)

    def forward(self, pixel_values: torch.Tensor, interpolate_pos_encoding: bool | None = False) -> torch.Tensor:
        """(B, C, H, W) -> (B, rows * columns, width).

        Raises:
            ValueError: `interpolate_pos_encoding` is true.
        """
        refuse_interpolation(interpolate_pos_encoding)
        return embed_patches(self, pixel_values) + self.position_embedding(self.position_ids)


class CLIPVisionTower(FullInitialisation, CLIPVisionModel):
    """CLIP's vision model for any (H, W). Its `last_hidden_state` is after the norm (stock CLIP norms only CLS)."""

    def __init__(self, config: PreTrainedConfig) -> None:
        super(CLIPVisionModel, self).__init__(config)  # the parent's modules, with other embeddings
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
    """torch's attention, with a call of its output projection.

    torch's own reads the weights of that projection without calling it, and offloaded weights are in memory only while
    their module is called.
    """

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


class SiglipVisionTower(FullInitialisation, SiglipVisionModel):
    """SigLIP's vision model for any (H, W)."""

    def __init__(self, config: PreTrainedConfig) -> None:
        super(SiglipVisionModel, self).__init__(config)  # the parent's modules, with other embeddings
        self.embeddings = RectangularSiglipEmbeddings(config)
        self.encoder = SiglipEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.use_head = config.vision_use_head
        if self.use_head:
            self.head = SiglipMultiheadAttentionPoolingHead(config)
            self.head.attention = PoolingAttention(config.hidden_size, config.num_attention_heads, batch_first=True)
        self.post_init()


class SiglipTextTower(FullInitialisation, SiglipTextModel):
    """SigLIP's text model at the length that it was trained with, whatever the padding of a batch.

    SigLIP attends to padding and pools the last position, which is padding in all but the longest texts. In batches
    padded to their own longest text, the embedding of a text would depend on the others.
    """

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """(B, L) -> last_hidden_state (B, L, width) of the given tokens, and pooler_output (B, width).

        Hidden states and attentions, if you ask for them, have the full length.

        Args:
            attention_mask: (B, L), 0 on padding of any id, where the tower reads SigLIP's own padding.

        Raises:
            ValueError: `position_ids` are given.
        """
        if kwargs.pop("position_ids", None) is not None:
            raise ValueError(
                "SigLIP's text tower takes no position_ids: it reads every text at its full length, from position 0."
            )
        length, pad = input_ids.shape[1], self.config.pad_token_id
        if attention_mask is not None:
            input_ids = input_ids.masked_fill(attention_mask == 0, pad)
        padded = F.pad(input_ids, (0, self.config.max_position_embeddings - length), value=pad)
        output = super().forward(padded, **kwargs)
        own = torch.arange(length, device=input_ids.device)  # torch.export would fix the length of a slice
        output.last_hidden_state = output.last_hidden_state.index_select(1, own)
        return output


TOWERS: dict[str, type[PreTrainedModel]] = {
    "clip_vision_model": CLIPVisionTower,
    "siglip_vision_model": SiglipVisionTower,
    "siglip_text_model": SiglipTextTower,
}


def build_tower(config: PreTrainedConfig) -> PreTrainedModel:
    """Build an encoder with random weights from its configuration: one of `TOWERS`, or else Transformers' own.

    Its dtype is that of the model under construction, whatever dtype its own checkpoint was stored in.
    """
    own = TOWERS.get(config.model_type)
    dtype = torch.get_default_dtype()
    return own._from_config(config, dtype=dtype) if own else AutoModel.from_config(config, dtype=dtype)


def freeze_unused(tower: PreTrainedModel, pools: bool) -> None:
    """Freeze parameters without gradient, which DistributedDataParallel would wait for.

    These are the token for masked patches, which only pre-training uses, and the tower's own pooling unless it `pools`.
    """
    unused = ("embeddings.mask_token", *(() if pools else ("pooler.", "head.")))
    for name, parameter in tower.named_parameters():
        if name.startswith(unused):
            parameter.requires_grad_(False)


class ConvStem(nn.Sequential):
    """3x3 stride-2 convolutions before the patch embedding (Xiao et al., "Early Convolutions ...", NeurIPS 2021).

    GroupNorm keeps an embedding independent of the rest of the batch.

    A convolution of stride 2 cannot be centred on a pair of pixels. Padded at the top left, which is what equal padding
    amounts to, each one looks half a pixel up and left of its own place. The last one is padded at the bottom right,
    which makes up for those before it: a place of the map sees its own square of the image, half a pixel off, so that
    attention maps show where the model looked.
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
    """Project the tower's own pooled output: (B, D).

    Raises:
        ValueError: the tower has none.
    """
    if output.get("pooler_output") is None:
        raise ValueError("pooling='tower', but a tower has no pooled output: use pooling='mean' or pooling='max'.")
    return projection(output.pooler_output)


def max_pooling(
    projection: nn.Linear, output: BaseModelOutputWithPooling, tokens: torch.Tensor, content: torch.Tensor
) -> torch.Tensor:
    """Maximum of the projected tokens (B, N, D) over words or patches, less its mean over D: (B, D).

    A maximum over N numbers raises all D alike, for every image and text. With that shared offset, two images have a
    cosine of 0.94 at random weights; without it 0.57, and training makes progress sooner.
    """
    highest = tokens.masked_fill(~content[:, :, None], torch.finfo(tokens.dtype).min).amax(dim=1)
    return highest - highest.mean(dim=1, keepdim=True)


def mean_pooling(
    projection: nn.Linear, output: BaseModelOutputWithPooling, tokens: torch.Tensor, content: torch.Tensor
) -> torch.Tensor:
    """Mean of the projected tokens (B, N, D) over words or patches: (B, D)."""
    weights = content.to(tokens.dtype)
    return (tokens * weights[:, :, None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)


POOLING = {"tower": tower_pooling, "max": max_pooling, "mean": mean_pooling}


def check_pixels(pixel_values: torch.Tensor, image_size: tuple[int, int]) -> None:
    """Refuse images of another size than the position table has, and bytes, which are not normalised.

    Raises:
        ValueError: another type, shape or dtype.
    """
    if not isinstance(pixel_values, torch.Tensor):
        raise ValueError(f"pixel_values must be a tensor (B, 3, H, W) of floats, got {type(pixel_values).__name__}.")
    if pixel_values.ndim != 4 or tuple(pixel_values.shape[-2:]) != image_size:
        raise ValueError(
            f"pixel_values of shape {tuple(pixel_values.shape)}: this model is made for images (B, 3, {image_size[0]}, "
            f"{image_size[1]}) (height x width). Prepare them with the model's own processor."
        )
    if not pixel_values.is_floating_point():
        raise ValueError(
            f"pixel_values of type {pixel_values.dtype} are not normalised: expected floats. Prepare them with the "
            "model's own processor (or PixelPreparation.normalize)."
        )


def check_token_count(input_ids: torch.Tensor, positions: int) -> None:
    """Refuse texts with more tokens than the text tower has positions.

    Raises:
        ValueError: names both numbers.
    """
    if input_ids.shape[-1] > positions:
        raise ValueError(
            f"Texts of {input_ids.shape[-1]} tokens are too long for a text tower of {positions} positions. Prepare "
            "them with the model's own processor, which cuts them."
        )
