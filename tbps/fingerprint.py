"""Which model made a vector: vectors of two models must never be compared."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

import torch

from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor

# what of an image processor changes the pixels that the model sees
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

# what of a configuration changes no embedding: training, precision (seen in the weights) and bookkeeping
_NO_PART_OF_AN_EMBEDDING = re.compile(
    r"num_identities|commonality|cmr_.*|part_matching_.*|.*_loss|.*_loss_weight|.*logit_scale.*|initializer.*"
    r"|.*_dropout|dtype|id2label|label2id|transformers_version|tbps_version|architectures|auto_map|_name_or_path|_.*"
    r"|use_cache"  # of generation; Trainer sets it and saving leaves it out
)


@dataclass(frozen=True)
class ModelIdentity:
    """`name` for people to read, `fingerprint` (hex) to compare, `embedding_dim` E, `revision` on the Hub if it came
    from there."""

    name: str
    fingerprint: str
    embedding_dim: int
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.name!r} (fingerprint {self.fingerprint[:12]})"


def identify(model: TBPSModel, processor: TBPSProcessor) -> ModelIdentity:
    """The identity of what turns an image into a vector; reads all weights once."""
    name = model.config.name_or_path or "unnamed model"
    revision = getattr(model.config, "_commit_hash", None)
    return ModelIdentity(name, _fingerprint(model, processor), model.config.embedding_dim, revision)


def _fingerprint(model: TBPSModel, processor: TBPSProcessor) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith("id_head."):  # a training aid that no embedding passes through
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # as bytes: numpy knows no bfloat16
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    settings = processor.image_processor.to_dict()
    pixels = {name: settings.get(name) for name in _PIXEL_SETTINGS}
    words = [processor.tokenizer.get_vocab(), processor.tokenizer.model_max_length]
    described = [_embedding_settings(model.config.to_dict()), pixels, words]
    digest.update(json.dumps(described, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _embedding_settings(config: dict[Any, Any]) -> dict[str, Any]:
    """What of a configuration and its sub-configurations an embedding depends on."""
    return {
        str(name): _embedding_settings(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if not _NO_PART_OF_AN_EMBEDDING.fullmatch(str(name))
    }
