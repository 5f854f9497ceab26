"""The fingerprint that galleries of format 2 have of their model."""

import hashlib
import json
import re
from typing import Any

import torch

from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor

_PIXEL_SETTINGS = (
    "size",
    "resample",
    "image_mean",
    "image_std",
    "rescale_factor",
    "do_resize",
    "do_rescale",
    "do_normalize",
    "do_convert_rgb",
)
_NO_PART_OF_AN_EMBEDDING = re.compile(
    r"num_identities|commonality|cmr_.*|part_matching_.*|.*_loss|.*_loss_weight|.*logit_scale.*|initializer.*"
    r"|.*_dropout|dtype|id2label|label2id|transformers_version|tbps_version|architectures|auto_map|_name_or_path|_.*"
    r"|use_cache"
)
# what had no business in it, as it is by default
_DEFAULTS = {"output_hidden_states": False, "output_attentions": False, "return_dict": True}


def old_fingerprint(model: TBPSModel, processor: TBPSProcessor) -> str:
    """Of weights, of most settings, and of the tokenizer's vocabulary alone; reads all weights once."""
    digest = hashlib.blake2b(digest_size=16)
    weights = {name.replace("_orig_mod.", ""): tensor for name, tensor in model.state_dict().items()}
    for name, tensor in sorted(weights.items()):
        if name.startswith("id_head."):
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    settings = processor.image_processor.to_dict()
    pixels = {name: settings.get(name) for name in _PIXEL_SETTINGS}
    words = [processor.tokenizer.get_vocab(), processor.tokenizer.model_max_length]
    described = [_embedding_settings(model.config.to_dict()), pixels, words]
    digest.update(json.dumps(described, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _embedding_settings(config: dict[Any, Any]) -> dict[str, Any]:
    return {
        str(name): _embedding_settings(value) if isinstance(value, dict) else _DEFAULTS.get(name, value)
        for name, value in config.items()
        if not _NO_PART_OF_AN_EMBEDDING.fullmatch(str(name))
    }
