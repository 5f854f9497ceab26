"""Captions of other people's images: recognised by their loss, and trusted less.

After RDE (Qin et al., CVPR 2024) and DivideMix (Li et al., ICLR 2020): mismatched pairs are learned later than matched
ones, so early in training the losses form two populations. RDE measures them in a pass over the training set before
each epoch, and asks two heads for consensus. Here the loss of a pair is the one it had in its last training batch,
which costs no extra pass and one softmax per step, and the only score is the one that ranks.
"""

import base64
from typing import Any

import datasets
import numpy as np
import torch
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState
from transformers.utils import logging

from tbps.data.splits import captions_of
from tbps.matching_losses_tbps import same_person
from tbps.pretrained_model_tbps import TBPSOutput
from tbps.training.distributed import broadcast_rows, gather_pairs, gather_rows
from tbps.training.mixture import lower_of_two

logger = logging.get_logger(__name__)

SCALE = 50.0  # of the similarities before the softmax; not the trained scale, which would shift the losses
MODES = ("ignore", "weight", "filter")
RENAMED = {"weigh": "weight", "divide": "filter"}  # old: new


def check_mode(mode: str) -> None:
    """Check a value of `TBPSTrainingArguments.noisy_pairs`.

    Raises:
        ValueError: unknown or renamed.
    """
    if mode not in MODES:
        renamed = f" {mode!r} is now {RENAMED[mode]!r}." if mode in RENAMED else ""
        raise ValueError(f"noisy_pairs={mode!r}: expected one of {', '.join(map(repr, MODES))}.{renamed}")


@torch.no_grad()
def pair_losses(similarity: torch.Tensor, person_ids: torch.Tensor, scale: float = SCALE) -> torch.Tensor:
    """Measure how much better a pair's text and image match other people than each other.

    This is TAL (RDE eq. 7) without margin and hinge, averaged over both directions. With a hinge, the pairs that are
    learned well would pile up at 0: a narrow Gaussian would fit the pile, and a wide one all other pairs.

    Args:
        similarity: (B, B), row = text, column = image. person_ids: (B,).

    Returns:
        (B,) in units of 1 / scale; -inf where the batch holds one identity only.
    """
    logits = similarity.float() * scale
    others = logits.masked_fill(same_person(person_ids), -torch.inf)
    return (others.logsumexp(dim=1) + others.logsumexp(dim=0)) / 2 - logits.diagonal()


class NoisyPairs(TrainerCallback, ExportableState):
    """Keeps the last loss of each training pair, and decides before every epoch after the warm-up how far to trust it.

    Checkpoints contain it, in `trainer_state.json`. Every process records the pairs of all processes and so has the
    same numbers; the decision is that of process 0.

    Args:
        count: N, pairs of the training set. mode: "weight" trusts a pair by its posterior of the lower Gaussian,
            "filter" trusts it fully if that is 1/2 or more, and otherwise not at all. warmup: epochs that trust all.

    Raises:
        ValueError: `mode` is unknown or renamed.
    """

    def __init__(self, count: int, mode: str = "filter", warmup: int = 1) -> None:
        check_mode(mode)
        self.count, self.mode, self.warmup = count, mode, warmup
        self.losses = torch.full((count,), torch.nan)  # (N,), NaN before the first batch of a pair
        self.posterior = torch.ones(count)  # (N,), probability that text and image match
        self.epoch = 0  # the epoch that the posterior is for

    @property
    def weights(self) -> torch.Tensor:
        """Trust in each pair in this epoch, (N,) in [0, 1]."""
        return self.posterior if self.mode == "weight" else (self.posterior >= 0.5).float()

    @property
    def suspected(self) -> np.ndarray:
        """Pairs whose text and image probably do not match, (N,) bool."""
        return (self.posterior < 0.5).cpu().numpy()

    def gather(
        self, index: torch.Tensor, output: TBPSOutput, person_ids: torch.Tensor
    ) -> tuple[TBPSOutput, torch.Tensor, torch.Tensor]:
        """Gather the pairs of all processes as `gather_pairs` does, record their losses and look up their trust.

        Args:
            index: numbers of this process's pairs, (b,).

        Returns:
            Output, person ids (B,) and trust (B,) of the pairs of all processes.
        """
        output, person_ids, _ = gather_pairs(output, person_ids)
        index = gather_rows(index)
        similarity = output["text_embeds"] @ output["image_embeds"].T
        return output, person_ids, self.observe(index, similarity, person_ids)

    def observe(self, index: torch.Tensor, similarity: torch.Tensor, person_ids: torch.Tensor) -> torch.Tensor:
        """Record the losses of a batch's pairs and return their trust, (B,)."""
        self.losses, self.posterior = self.losses.to(index.device), self.posterior.to(index.device)
        found = pair_losses(similarity, person_ids)
        # a batch that was filled up may contain a pair twice: keep its larger loss in every process
        self.losses.scatter_reduce_(0, index, found, "amax", include_self=False)
        return self.weights[index]

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Decide which pairs to trust, once per epoch; a resumed run enters its epoch a second time."""
        epoch = int(state.epoch + 1e-6)
        if epoch != self.epoch and epoch >= self.warmup:
            losses = self.losses.cpu().numpy()
            posterior, seen = np.ones(self.count, dtype=np.float32), np.isfinite(losses)
            posterior[seen] = lower_of_two(losses[seen])
            self.posterior = broadcast_rows(torch.from_numpy(posterior).to(self.losses.device))
        self.epoch = epoch

    def state(self) -> dict[str, Any]:
        """The state that a checkpoint contains."""
        arguments = {"count": self.count, "mode": self.mode, "warmup": self.warmup}
        return {"args": arguments, "attributes": {"noted": [packed(self.losses), packed(self.posterior), self.epoch]}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Restore the state of a resumed checkpoint.

        Raises:
            ValueError: the checkpoint belongs to another training set.
        """
        if self.warmup >= state.num_train_epochs:
            logger.warning(
                f"noisy_pairs_warmup={self.warmup} in a training of {state.num_train_epochs} epochs trusts all pairs "
                "to the end. Lower noisy_pairs_warmup, or set noisy_pairs to ignore."
            )
        saved = state.stateful_callbacks.get(type(self).__name__)
        if saved is None:
            return
        if saved["args"]["count"] != self.count:
            raise ValueError(
                f"The checkpoint has {saved['args']['count']} training pairs, the training set has {self.count}. "
                "Resume with the data that it was trained on, or start from its weights (model_name_or_path)."
            )
        losses, posterior, self.epoch = saved["attributes"]["noted"]
        self.losses, self.posterior = unpacked(losses), unpacked(posterior)


def packed(values: torch.Tensor) -> str:
    """Encode float32 values as text, exactly."""
    return base64.b64encode(values.cpu().numpy().astype("<f4").tobytes()).decode()


def unpacked(text: str) -> torch.Tensor:
    """Decode the values of `packed`."""
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float32))


def suspects(rows: datasets.Dataset, noisy: NoisyPairs) -> list[dict[str, Any]]:
    """List the suspected pairs of a training split, the most suspicious first.

    Returns:
        One entry per pair: caption, person_id, file_path if the split has that column, loss and posterior.
    """
    captions = captions_of(rows)
    pairs = [(row, caption) for row, mates in enumerate(captions) for caption in mates]
    paths = rows["file_path"][:] if "file_path" in rows.column_names else None
    people = rows["person_id"][:]
    losses, posterior = noisy.losses.tolist(), noisy.posterior.tolist()
    found = np.flatnonzero(noisy.suspected).tolist()
    return [
        {
            **({"file_path": paths[pairs[i][0]]} if paths else {}),
            "caption": pairs[i][1],
            "person_id": people[pairs[i][0]],
            "loss": round(losses[i], 4),
            "posterior": round(posterior[i], 4),
        }
        for i in sorted(found, key=lambda i: (posterior[i], -losses[i]))
    ]
