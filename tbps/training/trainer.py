"""TBPSTrainer: a `transformers.Trainer` that trains on person pairs and evaluates retrieval."""

from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import Trainer, TrainerControl
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from tbps.data.bad_samples import explain_dead_workers, gather_skipped
from tbps.data.corpora.corpus import Corpus
from tbps.data.pairs import PairCollator, PersonPairs
from tbps.data.streamed_pairs import StreamedPairs
from tbps.evaluation.retrieval import evaluate_retrieval
from tbps.files_tbps import refuse_non_finite
from tbps.modeling_tbps import TBPSModel
from tbps.pretrained_model_tbps import TBPSOutput
from tbps.processing_tbps import TBPSProcessor
from tbps.sharing.errors import hub_errors
from tbps.training.arguments import TBPSTrainingArguments
from tbps.training.batches import LogSkipped, SamplerEpoch, image_name, order_of, stream_loader, training_pairs
from tbps.training.checkpoints import checkpoint_to_resume, writing_checkpoint
from tbps.training.checks import check_batch, check_identities, check_launch, to_float32
from tbps.training.distributed import gather_pairs
from tbps.training.hub import check_strategy, push_trained, write_card
from tbps.training.learning_rates import parameters_to_speed_up, read_groups, split_groups, write_groups
from tbps.training.losses import LossTerms, diverged
from tbps.training.noisy_pairs import NoisyPairs
from tbps.training.sharded import ShardedFeatures, scale_to_buffer
from tbps.training.streaming import CorpusEpoch, StreamPosition, start_stream


class TBPSTrainer(Trainer):
    """Trains a `TBPSModel` on the splits of `load_benchmark` or on a corpus; otherwise a `transformers.Trainer`.

    Args:
        model: its `config.num_identities` must be 0 or the number of people in `train_dataset` (corpora: 0).
        args: `TBPSTrainingArguments`. processing_class: the model's `TBPSProcessor`.
        train_dataset: rows of image, captions, person_id, or a `Corpus`. eval_dataset: such rows. Evaluation is
            text-to-image retrieval on `eval_dataset`: eval_rank_1, eval_rank_5, eval_rank_10, eval_mAP, eval_mINP.

    Raises:
        ValueError: the number of classes of the instance-loss head differs from the number of people.
        LaunchError: several devices in one process, or one of several processes that would train alone.
    """

    args: TBPSTrainingArguments
    model: TBPSModel
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
        check_launch(args)
        if args.ddp_find_unused_parameters is None:  # the losses that are on decide which parameters get a gradient
            args.ddp_find_unused_parameters = True
        pairs = None
        if train_dataset is not None:
            if not args.half_precision_weights:
                to_float32(model)
            pairs = training_pairs(train_dataset, processing_class, args)
            check_identities(model, pairs)
            if isinstance(pairs, PersonPairs):
                check_batch(args, pairs)
        self.loss_terms = LossTerms()
        self.resumed_names: list[str] | None = None  # parameters that a resumed checkpoint trained faster
        self.stream: StreamPosition | None = None
        kwargs.setdefault("data_collator", PairCollator(processing_class, as_bytes=True))
        super().__init__(model, args, train_dataset=pairs, eval_dataset=eval_dataset,
                         processing_class=processing_class, **kwargs)  # fmt: skip
        if self.is_fsdp_enabled:
            scale_to_buffer(model)
            self.add_callback(ShardedFeatures())
        if isinstance(pairs, StreamedPairs):
            self.stream, args.ignore_data_skip = start_stream(pairs, args, None), True
            self.add_callback(CorpusEpoch(len(pairs.corpus)))
        elif isinstance(pairs, PersonPairs):
            if args.on_bad_sample == "skip":
                self.add_callback(LogSkipped(pairs, self.log))
            if args.noisy_pairs != "ignore":
                self.add_callback(NoisyPairs(len(pairs), args.noisy_pairs, args.noisy_pairs_warmup))

    @property
    def noisy_pairs(self) -> NoisyPairs | None:
        """What is known about each training pair; None if `args.noisy_pairs` is "ignore"."""
        return next((known for known in self.callback_handler.callbacks if isinstance(known, NoisyPairs)), None)

    # Batches

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Make the loader of the training pairs; a stream's readers already have rows of their own."""
        if isinstance(self.train_dataset, StreamedPairs):
            return stream_loader(self.train_dataset, self.args, self.data_collator)
        return super().get_train_dataloader()

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[Any]:
        """Make the sampler that mixes identities; `get_train_dataloader` of Trainer has no public hook for it."""
        pairs: Any = train_dataset if train_dataset is not None else self.train_dataset
        identities, order = order_of(pairs, self.args)
        self.remove_callback(SamplerEpoch)
        self.add_callback(SamplerEpoch(identities))
        return order

    # Training

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train; `resume_from_checkpoint` is a folder, or True for the latest complete one of `args.output_dir`.

        Raises:
            CheckpointError: the checkpoint is incomplete, was trained with other settings, or does not exist.
        """
        checkpoint = checkpoint_to_resume(resume_from_checkpoint, self.args.output_dir)
        folder = Path(checkpoint) if checkpoint else None
        if folder is not None:
            self.resumed_names = read_groups(folder, self.args.new_module_lr_multiplier)
        if isinstance(self.train_dataset, StreamedPairs):
            self.stream = start_stream(self.train_dataset, self.args, folder)
        with explain_dead_workers(self.train_dataset):
            return super().train(checkpoint, *args, **kwargs)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, TBPSOutput]:
        """Compute the loss on the pairs of all processes, and add its terms to the next log.

        The model gathers the pairs inside `forward`, see `training.distributed`.

        Raises:
            DivergedError: the loss is not finite.
        """
        index, stream = inputs.pop("pair_index", None), inputs.pop("stream", None)
        streamed = self.stream.take(str(stream)) if self.stream is not None and stream is not None else []
        pixels = inputs.get("pixel_values")
        if pixels is not None and pixels.dtype == torch.uint8:
            inputs["pixel_values"] = self.train_dataset.preparation.normalize(pixels)
        noisy = self.noisy_pairs
        parts_on = self.state.global_step >= self.args.part_loss_warmup_ratio * self.state.max_steps
        outputs = model(
            **inputs,
            gather=gather_pairs if noisy is None or index is None else partial(noisy.gather, index),
            part_factor=float(parts_on),
            embed_chunk_size=self.args.embed_chunk_size,
        )
        if not outputs.loss.isfinite():
            files = streamed or self.batch_files(index)
            raise diverged(outputs.loss, outputs.losses, self.state.global_step + 1, files)
        self.loss_terms.add(outputs.losses)
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def batch_files(self, index: torch.Tensor | None) -> list[str]:
        """The image files of a batch, by the numbers of its pairs; empty if they are not known."""
        pairs = self.train_dataset
        if index is None or not isinstance(pairs, PersonPairs):
            return []
        return [image_name(pairs, pair) for pair in index.tolist()]

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Make the optimizer, with `args.new_module_lr_multiplier` for parameters that started from random weights.

        Raises:
            ValueError: there is a multiplier, but no parameter started from a checkpoint.
        """
        created = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if created and self.args.new_module_lr_multiplier != 1:
            split_groups(optimizer, self.model, self.faster_names(), self.args.new_module_lr_multiplier)
        return optimizer

    def faster_names(self) -> list[str]:
        """Names of the parameters that the multiplier applies to, as in the resumed checkpoint if there is one."""
        if self.resumed_names is not None:
            return self.resumed_names
        return parameters_to_speed_up(self.model, self.args.new_module_lr_multiplier)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log. A training log also gets the mean of every loss term, and the numbers of suspected and skipped pairs."""
        if "loss" in logs and self.loss_terms.steps:
            logs |= self.loss_terms.take_means()
            if self.noisy_pairs is not None:
                logs["suspected_pairs"] = int(self.noisy_pairs.suspected.sum())
        skipped: dict[str, Any] = {}
        training = "loss" in logs or "train_loss" in logs
        if training and isinstance(self.train_dataset, StreamedPairs) and self.train_dataset.on_bad_sample == "skip":
            skipped = gather_skipped(self.stream.take_skipped() if self.stream else [])
        if skipped:
            logs["skipped_samples"] = skipped["skipped_samples"]
        super().log(logs, start_time)
        self.state.log_history[-1] |= skipped

    def evaluate(
        self,
        eval_dataset: datasets.Dataset | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Evaluate text-to-image retrieval on a split (default: the trainer's); log and return it under the prefix.

        Raises:
            ValueError: there is no split to evaluate on.
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

    # Checkpoints

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save a checkpoint and mark it complete; older ones are deleted after that, and not before as in Trainer."""
        if not self.is_fsdp_enabled:  # otherwise a process has only its shard, and the next loss shows it
            refuse_non_finite(f"The model after step {self.state.global_step}", self.model.named_parameters())
        run = Path(self._get_output_dir(trial))
        folder = run / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        limit, self.args.save_total_limit = self.args.save_total_limit, None  # nothing is deleted yet
        try:
            with writing_checkpoint(folder, self.args.should_save, self.accelerator.wait_for_everyone):
                super()._save_checkpoint(model, trial)
                if not self.args.save_only_model:
                    self.save_resume_state(folder)
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            rotate_checkpoints(str(run), limit, self.state.best_model_checkpoint, use_mtime=True)

    def save_resume_state(self, checkpoint: Path) -> None:
        """Write what Trainer does not save: the parameter groups and the position of each process in its stream."""
        if self.args.should_save and self.args.new_module_lr_multiplier != 1:
            write_groups(checkpoint, self.args.new_module_lr_multiplier, self.faster_names())
        if self.stream is not None:
            self.stream.write(checkpoint, self.args.process_index)

    # Sharing

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Make the repository `args.hub_model_id` at once, so that a refusal comes before the training.

        Raises:
            ValueError: `args.hub_strategy` pushes before the end. SharingError: the Hub refused or cannot be reached.
        """
        check_strategy(self.args)
        name = self.args.hub_model_id or Path(self.args.output_dir).absolute().name
        with hub_errors(name, token or self.args.hub_token):
            super().init_hf_repo(token, private)

    def create_model_card(self, **fields: Any) -> None:
        """Write README.md into the output directory, with the metrics of the results.json there.

        Args:
            fields: of `huggingface_hub.ModelCardData`: license, tags, language, ...

        Raises:
            SharingError: results.json describes another model.
        """
        if self.is_world_process_zero():
            trained = self.state.global_step > 0
            write_card(self.model, self.processing_class, self.args, self.hub_model_id, trained, **fields)

    def push_to_hub(
        self,
        commit_message: str = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **fields: Any,
    ) -> Any:
        """Push the model without its training head, its processor, the code of both and the card.

        Args:
            commit_message, revision, private: of the commit, its branch and a repository that is made.
            blocking: wait for the end of the upload. token: instead of `args.hub_token` or the login.
            fields: of `create_model_card`.

        Returns:
            The commit, or a future of it if not `blocking`; None in every process but the main one.

        Raises:
            SharingError: the Hub refused or cannot be reached, or results.json describes another model.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        if not self.is_world_process_zero():
            return None
        token = token or self.args.hub_token
        if self.hub_model_id is None:
            self.init_hf_repo(token, private)
        self.create_model_card(**fields)
        output, revision = Path(self.args.output_dir), revision or self.args.hub_revision
        return push_trained(self.model, self.processing_class, output, self.hub_model_id,
                            revision=revision, message=commit_message, token=token, blocking=blocking)  # fmt: skip
