"""The two towers: Transformers' own encoders, ours where they cannot do what is needed, and a conv stem before them."""

from itertools import pairwise

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
    """An encoder with random weights from its configuration: ours where Transformers' own cannot do it, else theirs."""
    own = TOWERS.get(config.model_type)
    return own._from_config(config) if own else AutoModel.from_config(config)


class ConvStem(nn.Sequential):
    """3x3 stride-2 convolutions before the patch embedding (Xiao et al., NeurIPS 2021): (B, 3, H, W) ->
    (B, C, H/2^n, W/2^n). GroupNorm, so that an embedding does not depend on the rest of the batch."""

    def __init__(self, channels: list[int]) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([3, *channels]):
            layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(1, outputs), nn.GELU()]
        super().__init__(*layers)
