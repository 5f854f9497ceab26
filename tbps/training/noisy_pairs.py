"""Captions at the wrong image: told by their loss, and trusted less.

After RDE (Qin et al., CVPR 2024) and DivideMix (Li et al., ICLR 2020): what does not belong together is learned later
than what does, so that early in training the losses of all pairs are those of two populations. RDE measures them in a
pass over the training set before each epoch and asks two heads for consensus; here each pair's loss is the one it had
in the last training batch that it was in, which costs no pass and one softmax a step, and there is one score to ask,
the one that ranks.

Two Gaussians on a line: which of the values belong to the lower one.
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
from tbps.training.distributed import gather_labels, gather_pairs, of_first

ROUNDS, TOLERANCE = 300, 1e-7
SEPARATED = 2.0  # Ashman's D: distance of the means over the root mean square of the deviations


def lower_of_two(values: np.ndarray) -> np.ndarray:
    """Fit a mixture of two Gaussians by expectation maximisation, from the 10th and the 90th percentile on.

    `sklearn.mixture.GaussianMixture` finds the same; this is the one-dimensional case, for which training need not
    depend on scikit-learn. Unlike there, a value below the lower mean counts as one at it and one above the upper mean
    as one at that: of a narrow and a wide Gaussian the wide one would claim both ends.

    Where the Gaussians are not apart by Ashman's D > 2 (Ashman, Bird and Zepf, AJ 1994), the values are of one
    population, which any mixture would cut in two.

    Args:
        values: (N,) finite.
    Returns:
        (N,) in [0, 1], posterior of the Gaussian with the lower mean, which never grows with the value; 1 for all where
        there is but one population.
    """
    spread = values.std() if len(values) else 0.0
    if not spread > 0:
        return np.ones(len(values))
    values = (values.astype(np.float64) - values.mean()) / spread
    means, variances, shares = fit(values)
    if not abs(means[1] - means[0]) > SEPARATED * np.sqrt(variances.mean()):
        return np.ones(len(values))
    lower = int(means[1] < means[0])
    log_joint = log_density(np.clip(values, means.min(), means.max()), means, variances, shares)
    return np.exp(log_joint[:, lower] - np.logaddexp(log_joint[:, 0], log_joint[:, 1]))


def fit(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, variances and shares, (2,) each, of (N,) values of mean 0 and deviation 1."""
    means, variances, shares = np.quantile(values, [0.1, 0.9]), np.ones(2), np.full(2, 0.5)
    before = -np.inf
    for _ in range(ROUNDS):
        log_joint = log_density(values, means, variances, shares)  # (N, 2)
        log_total = np.logaddexp(log_joint[:, 0], log_joint[:, 1])
        belongs = np.exp(log_joint - log_total[:, None])
        counts = belongs.sum(axis=0) + 1e-10
        means = belongs.T @ values / counts
        variances = (belongs * (values[:, None] - means) ** 2).sum(axis=0) / counts + 1e-6
        shares = counts / counts.sum()
        if log_total.mean() - before < TOLERANCE:
            break
        before = log_total.mean()
    return means, variances, shares


def log_density(values: np.ndarray, means: np.ndarray, variances: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(N,) values -> (N, 2): log of share times density of each Gaussian."""
    squares = (values[:, None] - means) ** 2 / variances
    return np.log(shares) - (squares + np.log(2 * np.pi * variances)) / 2


logger = logging.get_logger(__name__)

SCALE = 50.0  # of the similarities before the softmax; not the trained one, which would shift the losses
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
    """How much better other people's texts and images suit a pair than its own do: TAL (RDE eq. 7) without margin and
    hinge, mean of the two directions. A loss that ends at 0 will not do: the well learned pairs pile up there, a
    narrow Gaussian fits the pile, and a wide one takes all others, whether they belong together or not.

    Args:
        similarity: (B, B), row = text, column = image. person_ids: (B,).
    Returns:
        (B,) in units of 1 / scale; -inf where the batch holds one identity only.
    """
    logits = similarity.float() * scale
    others = logits.masked_fill(same_person(person_ids), -torch.inf)
    return (others.logsumexp(dim=1) + others.logsumexp(dim=0)) / 2 - logits.diagonal()


class NoisyPairs(TrainerCallback, ExportableState):
    """What is known of each training pair: its last loss, and how far it is trusted, which is decided anew before every
    epoch after the first `warmup` ones. It goes with every checkpoint, in `trainer_state.json`.

    Every process notes the pairs of all, and so has the same numbers; those of the first process count.

    Args:
        count: N, pairs of the training set. mode: "weight" trusts a pair by its posterior of the lower Gaussian,
            "filter" trusts it fully where that is 1/2 or more and else not at all. warmup: epochs that trust all pairs.

    Raises:
        ValueError: another `mode`.
    """

    def __init__(self, count: int, mode: str = "filter", warmup: int = 1) -> None:
        check_mode(mode)
        self.count, self.mode, self.warmup = count, mode, warmup
        self.losses = torch.full((count,), torch.nan)  # (N,), NaN of a pair that was in no batch yet
        self.posterior = torch.ones(count)  # (N,) that text and image belong together
        self.epoch = 0  # for which the posterior was computed

    @property
    def weights(self) -> torch.Tensor:
        """(N,) in [0, 1], how far each pair is trusted in this epoch."""
        return self.posterior if self.mode == "weight" else (self.posterior >= 0.5).float()

    @property
    def suspected(self) -> np.ndarray:
        """(N,) bool, pairs whose text and image more likely than not do not belong together."""
        return (self.posterior < 0.5).cpu().numpy()

    def gather(
        self, index: torch.Tensor, output: TBPSOutput, person_ids: torch.Tensor
    ) -> tuple[TBPSOutput, torch.Tensor, torch.Tensor]:
        """`gather_pairs` of the pairs numbered `index` (b,), whose losses are noted: output, person_ids (B,) and how
        far each is trusted (B,)."""
        output, person_ids, _ = gather_pairs(output, person_ids)
        index = gather_labels(index)
        similarity = output["text_embeds"] @ output["image_embeds"].T
        return output, person_ids, self.observe(index, similarity, person_ids)

    def observe(self, index: torch.Tensor, similarity: torch.Tensor, person_ids: torch.Tensor) -> torch.Tensor:
        """Note the losses of a batch's pairs, (B,), and say how far they are trusted, (B,)."""
        self.losses, self.posterior = self.losses.to(index.device), self.posterior.to(index.device)
        found = pair_losses(similarity, person_ids)
        # a pair may stand twice in a batch that was filled up: one of its losses, and always the same one
        self.losses.scatter_reduce_(0, index, found, "amax", include_self=False)
        return self.weights[index]

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Decide anew whom to trust, once an epoch: a resumed run enters the epoch that it was stopped in again."""
        epoch = int(state.epoch + 1e-6)
        if epoch != self.epoch and epoch >= self.warmup:
            losses = self.losses.cpu().numpy()
            posterior, seen = np.ones(self.count, dtype=np.float32), np.isfinite(losses)
            posterior[seen] = lower_of_two(losses[seen])
            self.posterior = of_first(torch.from_numpy(posterior).to(self.losses.device))
        self.epoch = epoch

    def state(self) -> dict[str, Any]:
        """What goes with a checkpoint."""
        arguments = {"count": self.count, "mode": self.mode, "warmup": self.warmup}
        return {"args": arguments, "attributes": {"noted": [packed(self.losses), packed(self.posterior), self.epoch]}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take up what a checkpoint knows.

        Raises:
            ValueError: it was made with another training set.
        """
        if self.warmup >= state.num_train_epochs:
            logger.warning(
                f"noisy_pairs_warmup={self.warmup} in a training of {state.num_train_epochs} epochs: all pairs are "
                "trusted to the end. Take fewer epochs of warm-up, or noisy_pairs: ignore."
            )
        saved = state.stateful_callbacks.get(type(self).__name__)
        if saved is None:
            return
        if saved["args"]["count"] != self.count:
            raise ValueError(
                f"The checkpoint knows of {saved['args']['count']} training pairs, the training set has {self.count}: "
                "resume with the data that it was trained on, or start anew from its weights (model_name_or_path)."
            )
        losses, posterior, self.epoch = saved["attributes"]["noted"]
        self.losses, self.posterior = unpacked(losses), unpacked(posterior)


def packed(values: torch.Tensor) -> str:
    """float32 as text, exactly."""
    return base64.b64encode(values.cpu().numpy().astype("<f4").tobytes()).decode()


def unpacked(text: str) -> torch.Tensor:
    """The values of `packed`."""
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float32))


def suspects(rows: datasets.Dataset, noisy: NoisyPairs) -> list[dict[str, Any]]:
    """The suspected pairs of a training split, the least credible first: caption, person_id, file_path where the split
    has that column, loss and posterior."""
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
