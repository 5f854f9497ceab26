"""TBPSTrainer: a `transformers.Trainer` that trains on person pairs and evaluates retrieval."""

import os
from functools import partial
from typing import Any

import datasets
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.utils import logging

from tbps.data.corpora.corpus import Corpus
from tbps.data.pairs import PairCollator, PersonPairs
from tbps.data.samplers import IdentitySampler, LengthGroupedSampler
from tbps.data.streamed_pairs import StreamedPairs
from tbps.evaluation.retrieval import evaluate_retrieval
from tbps.modeling_tbps import Gather, TBPSModel
from tbps.pretrained_model_tbps import TBPSOutput
from tbps.processing_tbps import TBPSProcessor
from tbps.training.arguments import TBPSTrainingArguments
from tbps.training.checkpoints import CheckpointTrainer
from tbps.training.distributed import ShardedFeatures, gather_pairs, scale_to_buffer
from tbps.training.diverged import refuse_loss
from tbps.training.feed import FedTrainer, training_pairs
from tbps.training.learning_rates import GroupedTrainer
from tbps.training.noisy_pairs import NoisyPairs
from tbps.training.streaming import CorpusEpoch, StreamTrainer

logger = logging.get_logger(__name__)


class LaunchError(RuntimeError, ValueError):
    """Processes or devices that do not train together; the message says how to start them."""


class TBPSTrainer(CheckpointTrainer, StreamTrainer, GroupedTrainer, FedTrainer):
    """Trains a `TBPSModel` on the splits of `load_benchmark`; everything else is `transformers.Trainer`.

    Args:
        model: its `config.num_identities` must be 0 or the number of people in `train_dataset` (corpora: 0).
        args: `TBPSTrainingArguments`. processing_class: the model's `TBPSProcessor`.
        train_dataset: rows of image, captions, person_id, or a `Corpus`. eval_dataset: such rows. Evaluation is
            text-to-image retrieval on `eval_dataset`: eval_rank_1, eval_rank_5, eval_rank_10, eval_mAP, eval_mINP.

    Raises:
        ValueError: another number of people than the instance-loss head has classes.
        LaunchError: several devices in one process, which would run `torch.nn.DataParallel`; one of several processes
            that would train by itself.
    """

    control: TrainerControl

    def __init__(
        self,
        model: TBPSModel,
        args: TBPSTrainingArguments,
        train_dataset: datasets.Dataset | Corpus | None = None,
        eval_dataset: datasets.Dataset | None = None,
        processing_class: TBPSProcessor | None = None,
        **kwargs: Any,
    ) -> None:
        if processing_class is None:
            raise ValueError("TBPSTrainer needs processing_class, the model's TBPSProcessor: got None.")
        if args.n_gpu > 1:
            raise LaunchError(
                f"This process sees {args.n_gpu} devices and would run torch.nn.DataParallel, which splits the batch "
                "and with it the negatives: start one process a device with `torchrun` or `accelerate launch`."
            )
        check_together(args)
        if args.ddp_find_unused_parameters is None:  # which losses there are decides what gets a gradient
            args.ddp_find_unused_parameters = True
        pairs = None
        if train_dataset is not None:
            if not args.half_precision_weights:
                to_float32(model)
            pairs = training_pairs(train_dataset, processing_class, args)
            check_identities(model, pairs)
        if isinstance(pairs, PersonPairs):
            check_batch(args, pairs)
        self.loss_sums: dict[str, torch.Tensor] = {}
        self.loss_steps = 0
        kwargs.setdefault("data_collator", PairCollator(processing_class, as_bytes=True))
        super().__init__(model, args, train_dataset=pairs, eval_dataset=eval_dataset,
                         processing_class=processing_class, **kwargs)  # fmt: skip
        if self.is_fsdp_enabled:
            scale_to_buffer(model)
            self.add_callback(ShardedFeatures())
        if isinstance(pairs, StreamedPairs):
            self.add_callback(CorpusEpoch(len(pairs.corpus)))
        elif pairs is not None and args.noisy_pairs != "ignore":
            self.add_callback(NoisyPairs(len(pairs), args.noisy_pairs, args.noisy_pairs_warmup))

    @property
    def noisy_pairs(self) -> NoisyPairs | None:
        """What is known of each training pair; None where `args.noisy_pairs` is "ignore"."""
        return next((known for known in self.callback_handler.callbacks if isinstance(known, NoisyPairs)), None)

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> IdentitySampler | LengthGroupedSampler:
        pairs: Any = train_dataset if train_dataset is not None else self.train_dataset
        size, window = self.args.train_batch_size * self.args.world_size, self.args.length_group_window
        order = IdentitySampler(pairs.identity_labels, size, self.args.samples_per_identity, self.args.seed)
        self.remove_callback(SamplerEpoch)
        self.add_callback(SamplerEpoch(order))
        if not window:
            return order
        return LengthGroupedSampler(order, pairs.input_ids.lengths, pairs.identity_labels, size, window)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, TBPSOutput]:
        """The loss on the pairs of all processes; its terms are added to the log.

        Raises:
            DivergedError: it is not finite.
        """
        begun = self.state.global_step >= self.args.part_loss_warmup_ratio * self.state.max_steps
        gather: Gather = gather_pairs
        index = inputs.pop("pair_index", None)
        if self.noisy_pairs is not None and index is not None:
            gather = partial(self.noisy_pairs.gather, index)
        outputs = model(
            **inputs,
            gather=gather,
            part_factor=float(begun),
            embed_chunk_size=self.args.embed_chunk_size,
        )
        if not outputs.loss.isfinite():
            files = self.batch_files(index) or self.stream_files
            refuse_loss(outputs.loss, outputs.losses, self.state.global_step + 1, files)
        for name, term in outputs.losses.items():
            self.loss_sums[name] = self.loss_sums.get(name, 0) + term.detach()
        self.loss_steps += 1
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the mean of every loss term since the last training log."""
        if "loss" in logs and self.loss_steps:
            logs |= {f"loss_{name}": round(float(total) / self.loss_steps, 4) for name, total in self.loss_sums.items()}
            self.loss_sums.clear()
            self.loss_steps = 0
            if self.noisy_pairs is not None:
                logs["suspected_pairs"] = int(self.noisy_pairs.suspected.sum())
        super().log(logs, start_time)

    def evaluate(
        self,
        eval_dataset: datasets.Dataset | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Text-to-image retrieval on a split (default: the trainer's); logged and returned under the prefix.

        Raises:
            ValueError: no split to evaluate on.
        """
        rows = eval_dataset if eval_dataset is not None else self.eval_dataset
        if rows is None:
            raise ValueError("TBPSTrainer.evaluate got no eval_dataset: give rows of image, captions and person_id.")
        found = evaluate_retrieval(
            self.model,
            self.processing_class,
            rows,
            batch_size=self.args.eval_batch_size,
            progress=not self.args.disable_tqdm,
        )
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in found.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def to_float32(model: TBPSModel) -> None:
    """Make all weights float32 where some that are trained are of half precision, and say so."""
    half = {p.dtype for p in model.parameters() if p.requires_grad and p.dtype in (torch.float16, torch.bfloat16)}
    if half:
        stored = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in half))
        logger.warning(
            f"The model's weights are {stored}, in which small steps are lost: they are trained in float32 "
            "(half_precision_weights trains them as they are; bf16 and fp16 compute in half precision)."
        )
        model.float()


class SamplerEpoch(TrainerCallback):
    """Tells the sampler its epoch: what Trainer tells its loader does not reach a sampler when a training of several
    processes is resumed within an epoch (Transformers 5.23)."""

    def __init__(self, sampler: IdentitySampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(
        self, args: TBPSTrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Called before the first batch of an epoch, which a resumed training begins in its middle."""
        self.sampler.set_epoch(int(state.epoch or 0))


def check_together(args: TBPSTrainingArguments) -> None:
    """Refuse processes that were started together but found no way to talk to each other: each would train a model of
    its own, and all would write it to the same place."""
    started = int(os.environ.get("WORLD_SIZE") or 1)
    if started > 1 and args.world_size == 1:
        raise LaunchError(
            f"{started} processes were started (WORLD_SIZE), but each would train by itself on {args.device.type}, as "
            "no accelerator was found: add `--use_cpu true --bf16 false` to train together on CPUs, or start one."
        )


def check_identities(model: TBPSModel, pairs: PersonPairs | StreamedPairs) -> None:
    """Refuse an instance-loss head made for other people."""
    classes = model.config.num_identities
    if classes not in (0, pairs.num_identities):
        raise ValueError(
            f"config.num_identities={classes}, but the training split has {pairs.num_identities} people: set "
            "num_identities to that number, or to 0 for no instance loss."
        )


def check_batch(args: TBPSTrainingArguments, pairs: PersonPairs) -> None:
    """Refuse a batch that no epoch fills."""
    size = args.train_batch_size * args.world_size
    if args.dataloader_drop_last and size > len(pairs):
        raise ValueError(
            f"The batch of {size} pairs is larger than the training split of {len(pairs)}: every epoch would be empty. "
            "Lower per_device_train_batch_size."
        )
