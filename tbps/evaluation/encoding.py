"""Encode many images or texts into retrieval vectors, batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from tbps.data.images import ImageSource, open_image
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor


@torch.no_grad()
def encode_images(
    model: TBPSModel,
    processor: TBPSProcessor,
    images: Sequence[ImageSource],
    *,
    batch_size: int = 64,
    progress: bool = True,
) -> torch.Tensor:
    """Encode person crops: (N, E) float32 on the CPU.

    Raises:
        BadImageError: a file is not a readable image; the message names it.
    """

    def embed(batch: Sequence[ImageSource]) -> torch.Tensor:
        opened = (open_image(image) for image in batch)  # lazily, as a batch of large photographs takes gigabytes
        inputs = processor(images=opened, return_tensors="pt").to(_device(model))
        return model.get_image_features(**inputs, return_dict=True).pooler_output

    return _encode(model, images, embed, batch_size, progress, "images")


@torch.no_grad()
def encode_texts(
    model: TBPSModel,
    processor: TBPSProcessor,
    texts: Sequence[str] | str,
    *,
    batch_size: int = 256,
    progress: bool = True,
) -> torch.Tensor:
    """Encode texts: (N, E) float32 on the CPU. A string counts as one text.

    Raises:
        ValueError: a text is empty, blank or not a string.
    """
    sequence = [texts] if isinstance(texts, str) else texts

    def embed(batch: Sequence[str]) -> torch.Tensor:
        inputs = processor(text=list(batch), padding=True, return_tensors="pt").to(_device(model))
        return model.get_text_features(**inputs, return_dict=True).pooler_output

    return _encode(model, sequence, embed, batch_size, progress, "texts")


def _encode(
    model: TBPSModel,
    items: Sequence[Any],
    embed: Callable[[Sequence[Any]], torch.Tensor],
    batch_size: int,
    progress: bool,
    what: str,
) -> torch.Tensor:
    """Run `embed` over batches in evaluation mode, and restore the model's mode."""
    if not len(items):
        return torch.empty(0, model.config.embedding_dim)
    was_training = model.training
    model.eval()
    try:
        bar = tqdm(
            batches(items, batch_size), total=-(-len(items) // batch_size), desc=what, disable=not progress, leave=None
        )
        return torch.cat([embed(batch).float().cpu() for batch in bar])
    finally:
        model.train(was_training)


def _device(model: TBPSModel) -> torch.device:
    """The device of the model's inputs; for offloaded weights, the device that accelerate moves them to."""
    if model.device.type != "meta":
        return model.device
    hooks = (getattr(module, "_hf_hook", None) for module in model.modules())
    devices = (getattr(one, "execution_device", None) for hook in hooks for one in getattr(hook, "hooks", (hook,)))
    return torch.device(next((device for device in devices if device is not None), "cpu"))


def batches(items: Sequence[Any], batch_size: int) -> Iterator[Sequence[Any]]:
    """Consecutive slices of at most `batch_size` items."""
    for start in range(0, len(items), batch_size):
        yield items[start : start + batch_size]
