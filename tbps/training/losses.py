"""The loss terms of a training: their means for the log, and an error as soon as the loss is not finite."""

import math
from collections.abc import Mapping, Sequence

import torch

SHOWN = 10  # files of a batch that an error names


class DivergedError(ValueError):
    """The loss is not finite; the message says at which step and why."""


class LossTerms:
    """Sums loss terms on their device, so that only the log waits for the numbers."""

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.steps = 0

    def add(self, terms: Mapping[str, torch.Tensor]) -> None:
        """Add the terms of one batch, each a scalar."""
        for name, term in terms.items():
            self.sums[name] = self.sums.get(name, 0) + term.detach()
        self.steps += 1

    def take_means(self) -> dict[str, float]:
        """Return the mean of each term as `loss_NAME` since the last call, and start again."""
        means = {f"loss_{name}": round(float(total) / self.steps, 4) for name, total in self.sums.items()}
        self.sums, self.steps = {}, 0
        return means


def diverged(loss: torch.Tensor, terms: Mapping[str, torch.Tensor], step: int, files: Sequence[str]) -> DivergedError:
    """Make the error for a loss that is not finite; it names the step, the terms that are not finite and the files.

    Args:
        terms: loss terms by name. step: counted from 1. files: images of the batch, as far as they are known.
    """
    values = {name: term.item() for name, term in terms.items()}
    broken = [f"{name}={value}" for name, value in values.items() if not math.isfinite(value)]
    named = ", ".join(files[:SHOWN]) + (", ..." if len(files) > SHOWN else "")
    return DivergedError(
        f"The loss of step {step} is {loss.item()} ({', '.join(broken) or 'each term is finite, their sum is not'}). "
        "Training cannot recover from this. Lower learning_rate, train in float32 or bfloat16 instead of float16, or "
        f"check the data. Images of the batch: {named or 'not known'}."
    )
