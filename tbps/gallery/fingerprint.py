"""Which model made a vector: vectors of two models must never be compared."""

import hashlib
import json
from dataclasses import dataclass

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


@dataclass(frozen=True)
class ModelIdentity:
    """`name` for people to read, `fingerprint` (hex) to compare, `embedding_dim` E."""

    name: str
    fingerprint: str
    embedding_dim: int

    def __str__(self) -> str:
        return f"{self.name!r} (fingerprint {self.fingerprint[:12]})"


def identify(model: TBPSModel, processor: TBPSProcessor) -> ModelIdentity:
    """The identity of what turns an image into a vector; reads all weights once."""
    name = model.config.name_or_path or "unnamed model"
    return ModelIdentity(name, _fingerprint(model, processor), model.config.embedding_dim)


def _fingerprint(model: TBPSModel, processor: TBPSProcessor) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith("id_head."):  # a training aid that no embedding passes through
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # as bytes: numpy knows no bfloat16
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    settings = processor.image_processor.to_dict()
    described = {name: settings.get(name) for name in _PIXEL_SETTINGS}
    digest.update(json.dumps([float(model.config.part_weight), described], sort_keys=True).encode())
    return digest.hexdigest()
