"""Configuration of a text-based person search model: two towers, a shared part decoder and the training losses."""

import math
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .commonality_tbps import MOVED_ESTIMATES, find_estimate
from .files_tbps import VERSION, drop_removed, report_damage, version_hint, warn_if_newer, warn_of_removed
from .matching_losses_tbps import MATCHING
from .ranking_loss_tbps import NEGATIVES, POSITIVES

# Transformers reads this text for imports, and Python does not: the configuration imports nothing above it.
# Transformers tells apart the code of two folders of one name by the files that a module imports, and finds the
# model's class through the configuration's. So all files must follow from the names here.
CODE_OF_A_CHECKPOINT = """
from .modeling_tbps import TBPSModel
from .processing_tbps import TBPSProcessor
"""

POOLINGS = ("tower", "max", "mean")
PART_ATTENTIONS = ("tokens", "parts", "both")
TOWER_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels")
TASK = "text-based-person-search"
# `transformers.pipeline` reads this from config.json, to run the pipeline's code where tbps is not installed.
CUSTOM_PIPELINES = {TASK: {"impl": "pipeline_tbps.TextBasedPersonSearchPipeline", "pt": ["AutoModel"]}}


@strict
class TBPSConfig(PreTrainedConfig):
    r"""
    Settings of a [`TBPSModel`].

    D = `projection_dim`, K = `num_parts`, d = `part_dim`. One retrieval vector has E = D + K*d numbers.

    Towers:
        - `vision_config`, `text_config`: tower configurations, as objects or as dicts with a `model_type`. The defaults
          are CLIP ViT-B/16 at 384x128 pixels and CLIP's text tower. For a CLIP tower that is not square, give
          `image_size=[height, width]`.
        - `projection_dim`: width D that both towers are projected to, and size of the global embedding.
        - `pooling`: how tokens become the global embedding. "tower" pools as the tower does (CLIP: CLS and end token),
          "max" takes the maximum over words or patches (as arXiv 2501.00318), "mean" their mean.
        - `stem_channels`: channels of 3x3 stride-2 convolutions before the vision tower (Xiao et al., "Early
          Convolutions Help Transformers See Better", NeurIPS 2021). The tower's own `image_size` and `num_channels`
          then describe the map after the stem, which is 2**len(stem_channels) times smaller than the image.
        - `special_token_ids`: ids that parts never look at (BOS, EOT, CLS, padding). None takes those that the text
          tower's configuration names.
        - `initializer_range`: standard deviation of the random weights of part queries and of layers without a rule of
          their own.

    Parts:
        - `num_parts`, `part_dim`: number K of part queries, and size d of a part embedding.
        - `decoder_layers`, `decoder_attention_heads`: of the part decoder. With small towers, a second layer found
          fewer people (docs/method_study.md).
        - `part_attention`: what part attention is normalised over. "tokens" is plain attention. With "parts", parts
          compete for each token, as slots do. "both" multiplies the two (dual softmax). See `part_decoder_tbps`.
        - `part_image_layer`: hidden state of the vision tower whose patches the parts read, through a projection of its
          own; 0 is the tower's input. None reads the tower's output. With keys from a later layer, early patches
          worked best (docs/method_study.md).
        - `part_image_key_layer`, `part_text_key_layer`: hidden states that give the keys of part attention, through
          projections of their own. A later layer knows more about its surroundings. None takes the tokens read.
        - `part_stripes`: how many parts start out looking at a horizontal stripe of the image, from top to bottom (PCB,
          Sun et al., ECCV 2018). The other parts start without a preferred place. None is all parts, 0 is none.
          Training moves the parts on from there, and a trained model keeps what it learned, whatever number it is
          loaded with (0 drops it). Each stripe needs a row of patches, or parts start alike.

    Losses:
        - `num_identities`: number N of classes of the instance loss; 0 builds no head.
        - `logit_scale_init_value`: logarithm of the similarity scale, which is not trained. ln(50) is IRRA's
          temperature of 0.02.
        - `global_loss`: loss of the global embeddings: "sdm" (IRRA, CVPR 2023, eq. 6), "itc" (CLIP's InfoNCE, all
          images of a person are positives) or "tal" (RDE, CVPR 2024). Each is a mean over the batch. RDE sums, so its
          loss takes a `global_loss_weight` equal to the number of pairs in a batch (64 in its paper).
        - `global_loss_weight`, `id_loss_weight`, `cmr_loss_weight`, `part_matching_loss_weight`,
          `part_independence_loss_weight`, `part_compactness_loss_weight`: coefficients. A term with coefficient 0 is
          not computed.
        - `part_matching_loss`, `part_matching_scale`: loss of matching sets of parts (choices as in `global_loss`), and
          the scale of its similarities. Weighted means of cosines lie closer together than cosines do.
        - `cmr_margin`, `cmr_margin_floor`: full margin m and its floor m_min in commonality-based margin ranking.
        - `commonality`: estimate of how common a part is: "none" (the margin stays m), "mean_similarity", "all_views",
          or one that you add to `commonality_tbps.COMMONALITY`. None was shown to find people better than another;
          "all_views" follows the true frequencies best (docs/method_study.md).
        - `cmr_positives`: which image of a person sets the bar: "mean", "hardest" or "easiest".
        - `cmr_negatives`: which negatives count: "violating", "semi_hard", "hardest", or "softened", which combines all
          of an anchor by a log-sum-exp. See `ranking_loss_tbps`.

    Retrieval:
        - `part_weight`: weight w of the parts in the retrieval vector, 0 <= w < 1. 0 compares global embeddings only.
        - `text_part_weights`: let each caption weight the parts by what each part found in it, so that a caption
          without shoes does not compare shoes. Only `part_matching_loss_weight` above 0 trains the weights.
        - `tbps_version`: version of tbps that saved the checkpoint. Saving writes it; do not set it.

    Raises:
        ValueError: a value is out of range, not a known choice, or of a field that was removed. The message names it.
    """

    model_type = "tbps"
    reads_custom_pipelines = True  # `tbps.register` turns it off: the pipeline that it registers needs no remote code
    sub_configs_defaults = {  # noqa: RUF012 - transformers reads it as a class attribute
        "vision_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="clip_vision_model",
            init_kwargs={"image_size": [384, 128], "patch_size": 16},
        ),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="clip_text_model"),
    }

    # towers
    vision_config: Any = None  # a dict, a PreTrainedConfig or None; always a PreTrainedConfig after construction
    text_config: Any = None
    projection_dim: int = 512
    pooling: str = "tower"
    stem_channels: list[int] | None = None
    special_token_ids: list[int] | None = None
    initializer_range: float = 0.02
    # parts
    num_parts: int = 8
    part_dim: int = 64
    decoder_layers: int = 1
    decoder_attention_heads: int = 8
    part_attention: str = "both"
    part_image_layer: int | None = None
    part_image_key_layer: int | None = None
    part_text_key_layer: int | None = None
    part_stripes: int | None = None
    # losses
    num_identities: int = 0
    logit_scale_init_value: float | int = 3.912023
    global_loss: str = "sdm"
    global_loss_weight: float | int = 1.0
    id_loss_weight: float | int = 1.0
    cmr_loss_weight: float | int = 3.0
    part_matching_loss_weight: float | int = 3.0
    part_independence_loss_weight: float | int = 5.0
    part_compactness_loss_weight: float | int = 0.0
    part_matching_loss: str = "itc"
    part_matching_scale: float | int = 50.0
    cmr_margin: float | int = 0.3
    cmr_margin_floor: float | int = 0.0
    commonality: str = "all_views"
    cmr_positives: str = "mean"
    cmr_negatives: str = "violating"
    # retrieval
    part_weight: float | int = 0.75
    text_part_weights: bool = True
    tbps_version: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if not self.reads_custom_pipelines:
            kwargs.pop("custom_pipelines", None)
        # the width that None stood for may stay: it is part of the fingerprint of galleries that exist
        if kwargs.get("decoder_intermediate_size") != 4 * self.projection_dim:
            drop_removed(kwargs)
        super().__post_init__(**kwargs)
        # JSON has no tuples, and what is saved must equal what is loaded
        self.stem_channels = list(self.stem_channels or ())
        for name in ("image_size", "patch_size"):
            if isinstance(getattr(self.vision_config, name, None), tuple):
                setattr(self.vision_config, name, list(getattr(self.vision_config, name)))
        # CLIP's published configurations name a wrong end id, 2; the tower then pools at the highest id of a row
        # (transformers PR 24773). The last ids of the vocabulary pool at the same place, and can be masked.
        text = self.text_config
        if (text.model_type, text.vocab_size, text.eos_token_id) == ("clip_text_model", 49408, 2):
            self.text_config.bos_token_id = self.text_config.vocab_size - 2
            self.text_config.eos_token_id = self.text_config.vocab_size - 1
            self.text_config.pad_token_id = self.text_config.vocab_size - 1

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build the configuration of a checkpoint.

        Raises:
            ValueError: a value is unknown to this version of tbps (the message names the version that saved it), or a
                value in `kwargs` is out of range.
        """
        saved_by = config_dict.get("tbps_version")
        warn_if_newer(saved_by)
        config_dict, kwargs = warn_of_removed(config_dict), drop_removed(kwargs)
        try:
            with report_damage("The configuration"):
                found = super().from_dict(config_dict, **kwargs)
                (found[0] if isinstance(found, tuple) else found).validate()  # kwargs are set after the checks
            return found
        except ValueError as error:
            if saved_by in (None, VERSION):
                raise
            raise ValueError(f"{error}\n{version_hint(saved_by)}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary of all settings, with the version of this code as `tbps_version`."""
        return {**super().to_dict(), "tbps_version": VERSION}

    def to_diff_dict(self) -> dict[str, Any]:
        """Return what is written to config.json.

        It has every field of this class, because defaults may change with the version, and the pipeline, whose code is
        saved beside the model.
        """
        ours = {name: value for name, value in self.to_dict().items() if name in type(self).__annotations__}
        return {**ours, **super().to_diff_dict(), "custom_pipelines": CUSTOM_PIPELINES}

    @property
    def masked_token_ids(self) -> list[int]:
        """Token ids that parts never look at."""
        if self.special_token_ids is not None:
            return self.special_token_ids
        names = ("bos_token_id", "eos_token_id", "pad_token_id", "cls_token_id", "sep_token_id")
        found = (getattr(self.text_config, name, None) for name in names)
        return sorted({token for token in found if isinstance(token, int)})

    @property
    def embedding_dim(self) -> int:
        """Length E = D + K*d of a retrieval vector."""
        return self.projection_dim + self.num_parts * self.part_dim

    @property
    def striped_parts(self) -> int:
        """Number of parts that start out at a stripe of the image."""
        return self.num_parts if self.part_stripes is None else self.part_stripes

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of `pixel_values` in pixels: the tower's own size times the reduction of the stem."""
        height, width = as_pair(self.vision_config.image_size)
        reduction = 2 ** len(self.stem_channels or ())
        return height * reduction, width * reduction

    @property
    def patch_grid(self) -> tuple[int, int]:
        """(rows, columns) of the vision tower's patch tokens."""
        height, width = as_pair(self.vision_config.image_size)
        rows, columns = as_pair(self.vision_config.patch_size)
        return height // rows, width // columns

    def validate_decoder(self) -> None:
        """Check the sizes of the part decoder (called by `@strict`)."""
        for name in ("projection_dim", "num_parts", "part_dim", "decoder_layers", "decoder_attention_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected 1 or more.")
        if self.projection_dim % self.decoder_attention_heads:
            raise ValueError(
                f"projection_dim={self.projection_dim} is not a multiple of "
                f"decoder_attention_heads={self.decoder_attention_heads}: change one of the two."
            )
        if not 0 <= self.striped_parts <= self.num_parts:
            raise ValueError(
                f"part_stripes={self.part_stripes}: expected 0 to num_parts={self.num_parts}, as each "
                "stripe takes one part, or None."
            )

    def validate_towers(self) -> None:
        """Check the kind and the sizes of the towers (called by `@strict`)."""
        needed = {
            "vision_config": ("image_size", "patch_size"),
            "text_config": ("vocab_size", "max_position_embeddings"),
        }
        for tower, names in needed.items():
            config = getattr(self, tower)
            if missing := [name for name in ("hidden_size", *names) if not hasattr(config, name)]:
                raise ValueError(
                    f"{tower} is a configuration of {config.model_type}, which has no {' and no '.join(missing)}."
                )
            for name in (*names, *TOWER_SIZES):
                sizes = getattr(config, name, None)
                if sizes is not None and min(as_pair(sizes)) < 1:
                    raise ValueError(f"{name}={sizes!r} in {tower}: expected 1 or more.")
            for name, value in vars(config).items():
                if name.endswith(("dropout", "dropout_prob", "drop_rate")) and value and not 0 <= value < 1:
                    raise ValueError(f"{name}={value} in {tower}: expected 0 <= {name} < 1.")
                if value is None and name in ("attention_dropout", "layer_norm_eps"):
                    raise ValueError(f"{name}=None in {tower}: expected a number.")
        if min(self.patch_grid) < 1:
            raise ValueError(f"image_size={self.vision_config.image_size} in vision_config is smaller than a patch.")

    def validate_stem(self) -> None:
        """Check that the vision tower has the channels of the stem or of an image (called by `@strict`)."""
        channels = getattr(self.vision_config, "num_channels", None)
        if self.stem_channels and channels is not None and self.stem_channels[-1] != channels:
            raise ValueError(
                f"The last of stem_channels={self.stem_channels} must equal num_channels={channels} of the vision "
                "tower, which reads the stem's output. A tower made for images has no stem."
            )
        if not self.stem_channels and channels not in (None, 3):
            raise ValueError(
                f"num_channels={channels} in vision_config: without stem_channels the tower reads images, which have 3."
            )

    def validate_part_layers(self) -> None:
        """Check that the towers have the layers that parts read (called by `@strict`)."""
        towers = (("part_image_layer", "vision"), ("part_image_key_layer", "vision"), ("part_text_key_layer", "text"))
        for name, tower in towers:
            layer = getattr(self, name)
            layers = getattr(getattr(self, f"{tower}_config"), "num_hidden_layers", None)
            if layer is not None and layers is not None and not 0 <= layer <= layers:
                raise ValueError(
                    f"{name}={layer}: the {tower} tower has {layers} layers; expected 0 (the input of its first layer) "
                    f"to {layers}, or None."
                )

    def validate_losses(self) -> None:
        """Check the choices and ranges of losses and retrieval (called by `@strict`)."""
        if not 0 <= self.part_weight < 1:
            raise ValueError(f"part_weight={self.part_weight}: expected 0 <= part_weight < 1.")
        for name in (name for name in type(self).__annotations__ if name.endswith("_loss_weight")):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)}: expected 0 (not computed) or more, and finite.")
        for name in ("cmr_margin", "cmr_margin_floor", "part_matching_scale", "logit_scale_init_value"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)}: expected a finite number.")
        choices = {
            "pooling": POOLINGS,
            "part_attention": PART_ATTENTIONS,
            "global_loss": MATCHING,
            "part_matching_loss": MATCHING,
            "cmr_positives": POSITIVES,
            "cmr_negatives": NEGATIVES,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(known)}.")
        if self.commonality not in MOVED_ESTIMATES:  # needed for training only, where the loss asks for it
            find_estimate(self.commonality)
        if self.part_matching_scale <= 0:
            raise ValueError(f"part_matching_scale={self.part_matching_scale}: expected more than 0.")
        if self.cmr_margin_floor > self.cmr_margin:
            raise ValueError(
                f"cmr_margin_floor={self.cmr_margin_floor} is above cmr_margin={self.cmr_margin}: the floor is the "
                "margin of the most common part and cannot exceed the full margin."
            )
        if self.num_identities < 0:
            raise ValueError(f"num_identities={self.num_identities}: expected 0 (no instance loss) or more.")


def as_pair(size: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    """Return a size, given as one number or as (height, width), as (height, width).

    Raises:
        ValueError: neither one nor two numbers.
    """
    if isinstance(size, int):
        return size, size
    if len(size) != 2:
        raise ValueError(f"A size must be one number, or height and width; got {size!r:.80}.")
    return size[0], size[1]
