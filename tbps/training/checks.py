"""Checks before a training starts: processes, devices, identities, batch size, precision."""

import os

import torch
from transformers.utils import logging

from tbps.data.pairs import PersonPairs
from tbps.data.streamed_pairs import StreamedPairs
from tbps.modeling_tbps import TBPSModel
from tbps.training.arguments import TBPSTrainingArguments

logger = logging.get_logger(__name__)


class LaunchError(RuntimeError, ValueError):
    """Processes or devices cannot train together; the message says how to start them."""


def check_launch(args: TBPSTrainingArguments) -> None:
    """Check that all devices and processes will train one model.

    Raises:
        LaunchError: this process sees several devices, or was started with others and cannot reach them.
    """
    if args.n_gpu > 1:
        raise LaunchError(
            f"This process sees {args.n_gpu} devices and would use torch.nn.DataParallel, which splits the batch "
            "and so loses negatives. Start one process per device with `torchrun` or `accelerate launch`."
        )
    started = int(os.environ.get("WORLD_SIZE") or 1)
    if started > 1 and args.world_size == 1:  # each would train alone, and all would write to one output_dir
        raise LaunchError(
            f"{started} processes were started (WORLD_SIZE), but no accelerator was found and each would train alone "
            f"on {args.device.type}. Add `--use_cpu true --bf16 false` to train together on CPUs, or start one process."
        )


def check_identities(model: TBPSModel, pairs: PersonPairs | StreamedPairs) -> None:
    """Check that the instance-loss head was made for the people of the training split.

    Raises:
        ValueError: another number of people.
    """
    classes = model.config.num_identities
    if classes not in (0, pairs.num_identities):
        raise ValueError(
            f"config.num_identities={classes}, but the training split has {pairs.num_identities} people. Set "
            "num_identities to that number, or to 0 for no instance loss."
        )


def check_batch(args: TBPSTrainingArguments, pairs: PersonPairs) -> None:
    """Check that an epoch has at least one batch.

    Raises:
        ValueError: the batch is larger than the split, and incomplete batches are dropped.
    """
    size = args.train_batch_size * args.world_size
    if args.dataloader_drop_last and size > len(pairs):
        raise ValueError(
            f"The batch of {size} pairs is larger than the training split of {len(pairs)}, so every epoch would be "
            "empty. Lower per_device_train_batch_size."
        )


def to_float32(model: TBPSModel) -> None:
    """Convert the model to float32 and warn, if any trainable weight has half precision."""
    half = {p.dtype for p in model.parameters() if p.requires_grad and p.dtype in (torch.float16, torch.bfloat16)}
    if half:
        stored = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in half))
        logger.warning(
            f"The model's weights are {stored}, which loses small steps: they are trained in float32. "
            "(half_precision_weights trains them as they are; bf16 and fp16 compute in half precision.)"
        )
        model.float()
