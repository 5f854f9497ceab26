"""Tiny models of every tower family, with inputs, as the common tests need them."""

from typing import Any

import torch

from tbps import TBPSConfig

BATCH, LENGTH, VOCABULARY = 5, 12, 99
WIDTH, LAYERS, HEADS = 32, 2, 4
IMAGE_SIZE, PATCH_SIZE = (32, 16), 8
BEGIN, END = 0, 1  # ids of the tiny vocabulary

TOWER = {"hidden_size": WIDTH, "intermediate_size": 37, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
IMAGES = {"image_size": list(IMAGE_SIZE), "patch_size": PATCH_SIZE, **TOWER}
WORDS = {"vocab_size": VOCABULARY, "max_position_embeddings": 12, "bos_token_id": BEGIN, "eos_token_id": END, **TOWER}
CLIP: dict[str, Any] = {
    "vision_config": {"model_type": "clip_vision_model", **IMAGES},
    "text_config": {"model_type": "clip_text_model", "pad_token_id": END, **WORDS},
}
SIGLIP: dict[str, Any] = {
    "vision_config": {"model_type": "siglip_vision_model", **IMAGES},
    "text_config": {"model_type": "siglip_text_model", "pad_token_id": END, "projection_size": WIDTH, **WORDS},
}
VIT_BERT: dict[str, Any] = {
    "vision_config": {"model_type": "vit", **IMAGES},
    "text_config": {"model_type": "bert", "pad_token_id": END, **WORDS},
}


class TBPSModelTester:
    """Sizes and inputs of a tiny model, under the names that the common tests read.

    Args:
        towers: `vision_config` and `text_config`. prefix: tokens of an image before its patches.
        length: tokens of a text, special tokens included.
    """

    is_training = True
    batch_size = BATCH
    hidden_size = WIDTH
    num_hidden_layers = LAYERS
    num_attention_heads = HEADS
    vocab_size = VOCABULARY

    def __init__(self, towers: dict[str, Any], prefix: int = 1, length: int = LENGTH) -> None:
        self.towers = towers
        self.seq_length = length
        self.num_image_tokens = prefix + (IMAGE_SIZE[0] // PATCH_SIZE) * (IMAGE_SIZE[1] // PATCH_SIZE)

    def get_config(self) -> TBPSConfig:
        sizes = {"projection_dim": 24, "num_parts": 3, "part_dim": 8, "decoder_layers": 1, "decoder_attention_heads": 4}
        # scale 1: eager and SDPA are compared to 0.005 in half precision, whose steps at a score of 14 are 0.008
        sizes["logit_scale_init_value"] = 0
        return TBPSConfig(**self.towers, **sizes)

    def prepare_config_and_inputs_for_common(self) -> tuple[TBPSConfig, dict[str, torch.Tensor]]:
        generator = torch.Generator().manual_seed(0)
        words = torch.randint(2, VOCABULARY, (BATCH, self.seq_length), generator=generator)
        words[:, 0], words[:, -1] = BEGIN, END
        inputs = {
            "input_ids": words,
            "attention_mask": torch.ones_like(words),
            "pixel_values": torch.randn(BATCH, 3, *IMAGE_SIZE, generator=generator),
        }
        return self.get_config(), inputs
