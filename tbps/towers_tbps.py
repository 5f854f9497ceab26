"""The two towers: Transformers' own encoders, ours where they cannot do what is needed, and a conv stem before them."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from .text_towers_tbps import SiglipTextTower
from .vision_towers_tbps import CLIPVisionTower, SiglipVisionTower

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
