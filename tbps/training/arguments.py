"""Training arguments: those of Transformers, and those that text-based person search adds."""

from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_utils import HubStrategy

from tbps.training.noisy_pairs import check_mode
from tbps.training.values import check_limits


@dataclass
class TBPSTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` with defaults for image-caption pairs.

    The help text of each field says what it does; `python train_hf.py --help` prints them all.
    """

    remove_unused_columns: bool = field(default=False, metadata={"help": "Keep the columns that the loader needs."})
    dataloader_drop_last: bool = field(
        default=True, metadata={"help": "Drop the last, smaller batch of an epoch: it has fewer negatives."}
    )
    metric_for_best_model: str | None = field(
        default="rank_1", metadata={"help": "Validation metric that selects the best checkpoint: rank_1, mAP, ..."}
    )
    greater_is_better: bool | None = field(default=True, metadata={"help": "Higher retrieval metrics are better."})
    half_precision_weights: bool = field(
        default=False,
        metadata={
            "help": "Train weights that are stored in half precision without converting them to float32. Small steps "
            "are lost in half precision, so by default only the computation uses it (bf16 or fp16)."
        },
    )
    logging_nan_inf_filter: bool = field(
        default=False,
        metadata={"help": "Replace a loss that is not finite in the log. TBPSTrainer stops at such a loss anyway."},
    )
    hub_strategy: HubStrategy | str = field(
        default="end", metadata={"help": "When to push. Only 'end' is supported, see TBPSTrainer.push_to_hub."}
    )
    samples_per_identity: int = field(
        default=1, metadata={"help": "Pairs of one person that are placed in the same batch. 1: all people differ."}
    )
    new_module_lr_multiplier: float = field(
        default=1.0,
        metadata={
            "help": "Multiplies the learning rate of parameters that started from random weights: the part decoder, "
            "heads, and projections that the checkpoint did not contain."
        },
    )
    embed_chunk_size: int | None = field(
        default=None,
        metadata={
            "help": "Encode this many pairs of a process at a time, and again in the backward pass. Allows batches "
            "larger than device memory, with all their negatives, for about a third more time."
        },
    )
    augment: bool = field(
        default=True, metadata={"help": "Augment training images: random flip, padded crop and erasing."}
    )
    random_erasing: float = field(
        default=0.5, metadata={"help": "Probability of erasing a rectangle of a training image. Needs augment."}
    )
    word_dropout: float = field(default=0.0, metadata={"help": "Probability of dropping each token of a caption."})
    cache_images: bool = field(
        default=False, metadata={"help": "Keep the resized training images in memory. For small data sets."}
    )
    color_jitter: float = field(
        default=0.0,
        metadata={
            "help": "Strength of random brightness, contrast and saturation, never hue. Needs augment. TBPS-CLIP uses "
            "0.1. Off by default, as captions name colours."
        },
    )
    image_backend: str = field(
        default="auto",
        metadata={
            "help": "Decoder of training images: pil, torchvision (twice as fast for JPEG, pixels differ by at most 2 "
            "of 255), or auto for torchvision if it is installed. Evaluation always uses Pillow."
        },
    )
    on_bad_sample: str = field(
        default="raise",
        metadata={
            "help": "If a training image cannot be read: raise, or skip, which takes another pair of the same person "
            "and logs the number and the files of the skipped samples."
        },
    )
    length_group_window: int = field(
        default=0,
        metadata={
            "help": "Number of batches within which captions of similar length are batched together, for less padding. "
            "0 is off: the negatives of a batch have any length."
        },
    )
    shuffle_buffer: int = field(
        default=1000,
        metadata={
            "help": "Corpora only: rows that each loader worker shuffles together and holds in memory, undecoded. A "
            "resumed run loses none of them (docs/pretraining.md)."
        },
    )
    augmentation_warmup_epochs: int = field(
        default=0,
        metadata={"help": "First epochs without augmentation and word dropout. Helps training from scratch."},
    )
    part_loss_warmup_ratio: float = field(
        default=0.0,
        metadata={
            "help": "Fraction of the training steps before the part losses are switched on. Until image and text "
            "tokens agree, a ranking loss is lowest if all parts are alike, and they do not diverge later."
        },
    )
    noisy_pairs: str = field(
        default="ignore",
        metadata={
            "help": "How to treat captions that may describe another image: 'ignore' trusts all pairs, 'filter' drops "
            "pairs of high loss as positives, 'weight' weights pairs by their loss (docs/noisy_pairs.md)."
        },
    )
    noisy_pairs_warmup: int = field(
        default=1, metadata={"help": "First epochs in which all pairs are trusted. Needs noisy_pairs filter or weight."}
    )

    def __post_init__(self) -> None:
        """Check values before Transformers replaces some of them.

        Raises:
            ValueError: a value is out of its range or unknown; the message names it.
        """
        check_limits(vars(self))
        check_mode(self.noisy_pairs)
        super().__post_init__()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the token out of the arguments that Trainer pickles into every checkpoint."""
        return {**self.__dict__, "hub_token": None}
