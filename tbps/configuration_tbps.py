"""Configuration of a text-based person search model: two towers, a part decoder shared by both, the training losses."""

import math
from typing import TYPE_CHECKING, Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .files_tbps import VERSION, damage_named, tell_versions, warn_of_newer

if TYPE_CHECKING:
    # Never run, but read: Transformers tells the code of two folders of one name apart by the files that the text of a
    # module imports, and finds the model's class by the configuration's. So all files have to count here.
    from .modeling_tbps import TBPSModel  # noqa: F401
    from .processing_tbps import TBPSProcessor  # noqa: F401

POOLINGS = ("tower", "max", "mean")
GLOBAL_LOSSES = ("sdm", "itc", "tal")
PART_ATTENTIONS = ("tokens", "parts", "both")
COMMONALITIES = (
    "none",
    "mean_similarity",
    "soft_rank",
    "entropy",
    "sigmoid",
    "pairwise",
    "look_alike",
    "resembling",
    "resembling_pair",
    "all_views",
)
POSITIVES = ("mean", "hardest", "easiest")
NEGATIVES = ("violating", "semi_hard", "hardest", "softened")
TOWER_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels")

TASK = "text-based-person-search"
# As `transformers.pipeline` reads it from config.json, to run the pipeline's code where tbps is not installed.
CUSTOM_PIPELINES = {TASK: {"impl": "pipeline_tbps.TextBasedPersonSearchPipeline", "pt": ["AutoModel"]}}


@strict
class TBPSConfig(PreTrainedConfig):
    r"""
    Settings of a [`TBPSModel`]. D = `projection_dim`, K = `num_parts`, d = `part_dim`; one retrieval vector has
    E = D + K*d numbers.

    Args:
        vision_config, text_config: tower configurations, as objects or as dicts with a `model_type`. The defaults are
            CLIP ViT-B/16 at 384x128 pixels and CLIP's text tower. A non-square CLIP tower takes
            `image_size=[height, width]`.
        projection_dim: width D that both towers are projected to; size of the global embedding.
        num_parts, part_dim: number K of part queries and size d of one part embedding.
        decoder_layers, decoder_attention_heads, decoder_intermediate_size, decoder_dropout: the part decoder. With
            small towers a second layer found fewer, not more (docs/method.md). The intermediate size is 4 D where it is
            None.
        part_attention: what the part attention is normalised over: "tokens" (plain), "parts" (parts compete for each
            token, as slots do) or "both" (dual softmax); see `part_decoder_tbps`.
        part_image_layer: hidden state of the vision tower whose patches the parts read (0 is the tower's input), by a
            projection of its own; read by the keys of a later one, early patches served best (docs/method.md). None
            takes the tower's output.
        part_image_key_layer, part_text_key_layer: hidden states of the towers by which the parts choose what they read
            (the keys of their attention), by projections of their own: later ones know what is around them. None
            chooses by the very tokens that are read.
        part_stripes: how many of the parts start out looking at a horizontal stripe of the picture each, from top to
            bottom, as part-based models of re-identification cut a person (PCB, Sun et al., ECCV 2018); the others
            start anywhere. Where they look is learned on from there: a trained model keeps what it learned, whatever
            number it is loaded with (0 drops it). None is all of them, 0 starts all parts anywhere. A stripe should
            have a row of patches: parts of a picture of fewer rows start alike.
        pooling: how tokens become the global embedding: "tower" as the tower defines it (CLIP: CLS and end token),
            "max" (the maximum over words or patches, as in arXiv 2501.00318) or "mean" over them.
        part_weight: share w of the parts in the retrieval vector, 0 <= w < 1. 0 compares global embeddings only.
        text_part_weights: let a sentence weigh the parts, by what each part found in it (a caption that says nothing of
            shoes should not compare shoes). The weights learn through `part_matching_loss_weight` only.
        stem_channels: channels of 3x3 stride-2 convolutions put before the vision tower (Xiao et al., "Early
            Convolutions Help Transformers See Better", NeurIPS 2021). The tower's own `image_size` and `num_channels`
            then describe the map after the stem, 2**len(stem_channels) times smaller than the picture.
        special_token_ids: ids that parts never look at (BOS, EOT, CLS, padding). None takes those that the text
            tower's configuration names.
        num_identities: size N of the instance-loss head; 0 builds none.
        logit_scale_init_value: logarithm of the similarity scale; ln(50) is IRRA's temperature of 0.02.
        learn_logit_scale: train the scale (CLIP does); SDM is defined for a fixed one.
        global_loss: "sdm" (IRRA, CVPR 2023, eq. 6), "itc" (CLIP's InfoNCE, with all images of a person as positives)
            or "tal" (RDE, CVPR 2024), on global embeddings. All are means over the batch; RDE sums, so that
            `global_loss_weight` must be the number of pairs in a batch for its loss (64 in its paper).
        global_loss_weight, id_loss_weight, cmr_loss_weight, part_matching_loss_weight, part_independence_loss_weight,
            part_compactness_loss_weight: coefficients of the loss terms; a term with coefficient 0 is not computed.
        part_matching_loss, part_matching_scale: the loss of the matched sets of parts, one of those of `global_loss`,
            and the scale of its similarities: weighted means of cosines lie closer together than the cosines do.
        cmr_margin, cmr_margin_floor: full margin m and its floor m_min of the commonality-based margin ranking loss.
        commonality: how the commonality of a part is estimated (see `commonality_tbps.COMMONALITY`); "none" keeps the
            margin fixed at m. None was shown to find people better than another; "all_views" follows the true shares
            best (docs/method.md).
        cmr_positives, cmr_negatives: which images of a person set the bar ("mean", "hardest", "easiest") and which
            negatives count ("violating", "semi_hard", "hardest"; "softened" counts all of an anchor as one, by a
            log-sum-exp); see `ranking_loss_tbps`.
        tbps_version: version of tbps that saved the checkpoint; written by saving, not to be given.

    Raises:
        ValueError: a value out of its range; the message names it.
    """

    model_type = "tbps"
    reads_custom_pipelines = True  # `tbps` turns it off: the pipeline it registers needs no trust in remote code
    sub_configs_defaults = {  # noqa: RUF012 - transformers reads it as a class attribute
        "vision_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="clip_vision_model",
            init_kwargs={"image_size": [384, 128], "patch_size": 16},
        ),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="clip_text_model"),
    }

    vision_config: Any = None  # a dict, a PreTrainedConfig or None; a PreTrainedConfig once built
    text_config: Any = None
    projection_dim: int = 512
    num_parts: int = 8
    part_dim: int = 64
    part_attention: str = "both"
    part_image_layer: int | None = None
    part_image_key_layer: int | None = None
    part_text_key_layer: int | None = None
    part_stripes: int | None = None
    decoder_layers: int = 1
    decoder_attention_heads: int = 8
    decoder_intermediate_size: int | None = None
    decoder_dropout: float | int = 0.0
    pooling: str = "tower"
    part_weight: float | int = 0.75
    text_part_weights: bool = True
    stem_channels: list[int] | None = None
    special_token_ids: list[int] | None = None
    num_identities: int = 0
    initializer_range: float = 0.02
    logit_scale_init_value: float | int = 3.912023
    learn_logit_scale: bool = False
    global_loss: str = "sdm"
    global_loss_weight: float | int = 1.0
    id_loss_weight: float | int = 1.0
    cmr_loss_weight: float | int = 3.0
    part_matching_loss_weight: float | int = 3.0
    part_matching_loss: str = "itc"
    part_matching_scale: float | int = 50.0
    part_independence_loss_weight: float | int = 5.0
    part_compactness_loss_weight: float | int = 0.0
    cmr_margin: float | int = 0.3
    cmr_margin_floor: float | int = 0.0
    commonality: str = "all_views"
    cmr_positives: str = "mean"
    cmr_negatives: str = "violating"
    tbps_version: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if not self.reads_custom_pipelines:
            kwargs.pop("custom_pipelines", None)
        super().__post_init__(**kwargs)
        # JSON knows no tuples: what is saved must equal what is loaded back
        self.stem_channels = list(self.stem_channels or ())
        for name in ("image_size", "patch_size"):
            if isinstance(getattr(self.vision_config, name, None), tuple):
                setattr(self.vision_config, name, list(getattr(self.vision_config, name)))
        # CLIP's published configurations name a wrong end id, 2; the tower then pools at the highest id of the row
        # (transformers PR 24773). The ids that the vocabulary really ends with say the same and can be masked.
        text = self.text_config
        if (text.model_type, text.vocab_size, text.eos_token_id) == ("clip_text_model", 49408, 2):
            self.text_config.bos_token_id = self.text_config.vocab_size - 2
            self.text_config.eos_token_id = self.text_config.vocab_size - 1
            self.text_config.pad_token_id = self.text_config.vocab_size - 1

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """The configuration of a checkpoint; what does not fit is told with the version that saved it.

        Raises:
            ValueError: another version of tbps saved it, and this one does not know a value in it; a value in `kwargs`
                that does not fit.
        """
        saved_by = config_dict.get("tbps_version")
        warn_of_newer(saved_by)
        try:
            with damage_named("The configuration"):
                found = super().from_dict(config_dict, **kwargs)
                (found[0] if isinstance(found, tuple) else found).validate()  # after the checks, kwargs are set
            return found
        except ValueError as error:
            if saved_by in (None, VERSION):
                raise
            raise ValueError(f"{error}\n{tell_versions(saved_by)}") from error

    def to_dict(self) -> dict[str, Any]:
        """As a dictionary, with the version of this code in the place of the one that it was loaded from."""
        return {**super().to_dict(), "tbps_version": VERSION}

    def to_diff_dict(self) -> dict[str, Any]:
        """What is written to config.json: every setting of ours, as defaults may change with the version, and the
        pipeline, whose code is saved beside the model."""
        ours = {name: value for name, value in self.to_dict().items() if name in type(self).__annotations__}
        return {**ours, **super().to_diff_dict(), "custom_pipelines": CUSTOM_PIPELINES}

    @property
    def masked_token_ids(self) -> list[int]:
        """Ids of the text tower's vocabulary that parts never look at."""
        if self.special_token_ids is not None:
            return self.special_token_ids
        names = ("bos_token_id", "eos_token_id", "pad_token_id", "cls_token_id", "sep_token_id")
        found = (getattr(self.text_config, name, None) for name in names)
        return sorted({token for token in found if isinstance(token, int)})

    @property
    def embedding_dim(self) -> int:
        """E = D + K*d, the length of one retrieval vector."""
        return self.projection_dim + self.num_parts * self.part_dim

    @property
    def striped_parts(self) -> int:
        """How many parts start out at a stripe of the picture."""
        return self.num_parts if self.part_stripes is None else self.part_stripes

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of `pixel_values`, in pixels: the tower's own size times the reduction of the stem."""
        height, width = as_pair(self.vision_config.image_size)
        reduction = 2 ** len(self.stem_channels or ())
        return height * reduction, width * reduction

    @property
    def patch_grid(self) -> tuple[int, int]:
        """(rows, columns) of patch tokens that the vision tower gives."""
        height, width = as_pair(self.vision_config.image_size)
        rows, columns = as_pair(self.vision_config.patch_size)
        return height // rows, width // columns

    def validate_decoder(self) -> None:
        """Part of `@strict`: sizes of the part decoder."""
        for name in (
            "projection_dim", "num_parts", "part_dim", "decoder_layers", "decoder_attention_heads",
            "decoder_intermediate_size",
        ):  # fmt: skip
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected 1 or more.")
        if not 0 <= self.decoder_dropout < 1:
            raise ValueError(f"decoder_dropout={self.decoder_dropout}: expected 0 <= decoder_dropout < 1.")
        if self.projection_dim % self.decoder_attention_heads:
            raise ValueError(
                f"projection_dim={self.projection_dim} is not a multiple of "
                f"decoder_attention_heads={self.decoder_attention_heads}: change one of them."
            )
        if not 0 <= self.striped_parts <= self.num_parts:
            raise ValueError(
                f"part_stripes={self.part_stripes}: expected 0 to num_parts={self.num_parts} (a stripe has one part), "
                "or None."
            )

    def validate_towers(self) -> None:
        """Part of `@strict`: towers of the right kind, of some size."""
        needed = {
            "vision_config": ("image_size", "patch_size"),
            "text_config": ("vocab_size", "max_position_embeddings"),
        }
        for tower, names in needed.items():
            config = getattr(self, tower)
            if missing := [name for name in ("hidden_size", *names) if not hasattr(config, name)]:
                raise ValueError(f"{tower} is of a {config.model_type}, which has no {' and no '.join(missing)}.")
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
            raise ValueError(f"image_size={self.vision_config.image_size} in vision_config holds no patch.")

    def validate_stem(self) -> None:
        """Part of `@strict`: the vision tower must read what the stem gives."""
        channels = getattr(self.vision_config, "num_channels", None)
        if self.stem_channels and channels is not None and self.stem_channels[-1] != channels:
            raise ValueError(
                f"stem_channels={self.stem_channels} end in another number than num_channels={channels} of the vision "
                "tower, which reads their map: a tower made for pictures has no stem."
            )
        if not self.stem_channels and channels not in (None, 3):
            raise ValueError(
                f"num_channels={channels} in vision_config: pictures have 3, and there is no stem_channels."
            )

    def validate_part_layers(self) -> None:
        """Part of `@strict`: the layers must be some that the towers have."""
        towers = (("part_image_layer", "vision"), ("part_image_key_layer", "vision"), ("part_text_key_layer", "text"))
        for name, tower in towers:
            layer = getattr(self, name)
            layers = getattr(getattr(self, f"{tower}_config"), "num_hidden_layers", None)
            if layer is not None and layers is not None and not 0 <= layer <= layers:
                raise ValueError(
                    f"{name}={layer}: the {tower} tower has {layers} layers; expected 0 (what its first layer reads) "
                    f"to {layers}, or None."
                )

    def validate_losses(self) -> None:
        """Part of `@strict`: names and ranges of the loss settings."""
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
            "global_loss": GLOBAL_LOSSES,
            "part_matching_loss": GLOBAL_LOSSES,
            "commonality": COMMONALITIES,
            "cmr_positives": POSITIVES,
            "cmr_negatives": NEGATIVES,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(known)}.")
        if self.part_matching_scale <= 0:
            raise ValueError(f"part_matching_scale={self.part_matching_scale}: expected more than 0.")
        if self.cmr_margin_floor > self.cmr_margin:
            raise ValueError(
                f"cmr_margin_floor={self.cmr_margin_floor} is above cmr_margin={self.cmr_margin}: "
                "the floor is the margin of the most common part and cannot exceed the full one."
            )
        if self.num_identities < 0:
            raise ValueError(f"num_identities={self.num_identities}: expected 0 (no instance loss) or more.")


def as_pair(size: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    """A size given as one number or as (height, width), as (height, width).

    Raises:
        ValueError: another number of numbers.
    """
    if isinstance(size, int):
        return size, size
    if len(size) != 2:
        raise ValueError(f"A size of {size!r:.80}: expected one number, or height and width.")
    return size[0], size[1]
