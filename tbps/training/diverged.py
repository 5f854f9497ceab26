"""A training whose loss or weights are no numbers any more: stopped and named, as no step mends it."""

from collections.abc import Mapping, Sequence

import torch

SHOWN = 10  # files of a batch that are named


class DivergedError(ValueError):
    """The loss or the weights of a training are not finite; the message says where."""


def refuse_loss(loss: torch.Tensor, terms: Mapping[str, torch.Tensor], step: int, files: Sequence[str]) -> None:
    """Stop a training whose loss is not finite. `transformers.Trainer` logs it as 0 and goes on.

    Args:
        terms: of the loss, by name. step: from 1. files: images of the batch, as far as they are known.

    Raises:
        DivergedError: names the step, the terms that are not finite and the files.
    """
    values = {name: term.item() for name, term in terms.items()}
    broken = [f"{name}={value}" for name, value in values.items() if not torch.tensor(value).isfinite()]
    named = ", ".join(files[:SHOWN]) + (", ..." if len(files) > SHOWN else "")
    raise DivergedError(
        f"The loss of step {step} is {loss.item()} ({', '.join(broken) or 'each term is finite, their sum is not'}): "
        "no later step would mend it. Lower learning_rate, train in float32 or bfloat16 instead of float16, or look at "
        f"the data. Images of the batch: {named or 'not known'}."
    )
