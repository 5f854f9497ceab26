"""Training arguments: those of Transformers, and the few that text-based person search adds."""

from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_utils import HubStrategy

from tbps.training.noisy_pairs import check_mode
from tbps.training.values import check_limits


@dataclass
class TBPSTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` with defaults that fit pairs of images and sentences."""

    remove_unused_columns: bool = field(default=False, metadata={"help": "Keep the columns that the loader needs."})
    dataloader_drop_last: bool = field(
        default=True, metadata={"help": "Drop the last, smaller batch of an epoch: it has fewer negatives."}
    )
    metric_for_best_model: str | None = field(
        default="rank_1", metadata={"help": "Validation metric that selects the checkpoint: rank_1, mAP, ..."}
    )
    greater_is_better: bool | None = field(default=True, metadata={"help": "Retrieval metrics grow with quality."})
    half_precision_weights: bool = field(
        default=False,
        metadata={
            "help": "Train weights that are stored in half precision as they are. By default they become float32, as "
            "small steps are lost in them: bf16 or fp16 computes in half precision and keeps float32 weights."
        },
    )
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Log a loss that is not finite as 0; TBPSTrainer stops at one in any case."}
    )
    hub_strategy: HubStrategy | str = field(
        default="end", metadata={"help": "When to push: at the end only, see TBPSTrainer.push_to_hub."}
    )
    samples_per_identity: int = field(
        default=1, metadata={"help": "Pairs of one person that stand together in a batch (1: all people differ)."}
    )
    new_module_lr_multiplier: float = field(
        default=1.0,
        metadata={
            "help": "Learning rate of what started from random weights (the part decoder, heads, projections without "
            "a checkpoint of their own), relative to that of what started from a checkpoint."
        },
    )
    embed_chunk_size: int | None = field(
        default=None,
        metadata={
            "help": "Embed so many pairs of a process at a time, and again in the backward pass: a batch larger than "
            "the device holds, with all its negatives, for about a third more time."
        },
    )
    augment: bool = field(default=True, metadata={"help": "Flip, crop after padding and erase training images."})
    random_erasing: float = field(
        default=0.5, metadata={"help": "Probability of erasing a rectangle of a training image, where augment is on."}
    )
    word_dropout: float = field(
        default=0.0, metadata={"help": "Probability of leaving out each token of a training caption."}
    )
    cache_images: bool = field(
        default=False, metadata={"help": "Keep prepared training images in memory: for small data sets."}
    )
    color_jitter: float = field(
        default=0.0,
        metadata={
            "help": "Strength of random brightness, contrast and saturation (never hue), where augment is on: 0.1 in "
            "TBPS-CLIP. Off by default, as sentences name colours."
        },
    )
    image_backend: str = field(
        default="auto",
        metadata={
            "help": "Who reads training images: pil, torchvision (JPEG at twice the speed, pixels within 2 of 255), or "
            "auto, the latter where it is installed. Evaluation always takes Pillow."
        },
    )
    on_bad_sample: str = field(
        default="raise",
        metadata={
            "help": "At a training image that cannot be read: raise, or skip it, which puts another pair of the same "
            "person in its place and logs how many were skipped, and their files."
        },
    )
    length_group_window: int = field(
        default=0,
        metadata={
            "help": "Batches within which captions of like length come together, for less padding. 0 (off): the "
            "negatives of a batch are of any length."
        },
    )
    shuffle_buffer: int = field(
        default=1000,
        metadata={
            "help": "Corpora only: rows of consecutive shards that are shuffled together, which every loader worker "
            "holds in memory, undecoded. A resume loses nothing of it (docs/pretraining.md)."
        },
    )
    augmentation_warmup_epochs: int = field(
        default=0,
        metadata={
            "help": "First epochs without augmentation and word dropout, from which random weights start sooner."
        },
    )
    part_loss_warmup_ratio: float = field(
        default=0.0,
        metadata={
            "help": "Share of the training steps before the part losses begin. While tokens of images and sentences do "
            "not agree yet, a ranking loss is lowest where all parts are alike, and they do not come apart later."
        },
    )
    noisy_pairs: str = field(
        default="ignore",
        metadata={
            "help": "Captions that may stand at the wrong image: 'ignore' trusts all, 'filter' makes no positives of "
            "pairs of high loss, 'weight' trusts each as far as its loss says (docs/noisy_pairs.md).",
        },
    )
    noisy_pairs_warmup: int = field(
        default=1, metadata={"help": "First epochs in which all pairs are trusted, where noisy_pairs is not 'ignore'."}
    )

    def __post_init__(self) -> None:
        """Check ranges first: of some values Transformers makes something else.

        Raises:
            ValueError: a value is out of its range or unknown; the message names it.
        """
        check_limits(vars(self))
        check_mode(self.noisy_pairs)
        super().__post_init__()

    def __getstate__(self) -> dict[str, Any]:
        """Trainer pickles its arguments beside every checkpoint: without the token."""
        return {**self.__dict__, "hub_token": None}
