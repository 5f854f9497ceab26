"""What Transformers needs to know of every TBPS model: how it is loaded, and from which random weights it starts.

What a [`TBPSModel`] returns.

Embedding a batch in chunks that are embedded again in the backward pass: a batch larger than the device holds.

What a model is given, checked before it computes: sizes that fit it, ids that are ids.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput, logging

from .configuration_tbps import TBPSConfig
from .files_tbps import (
    check_checkpoint,
    commit_of,
    damage_named,
    mismatches_untold,
    refuse_broken,
    refuse_misfits,
    refuse_pickle,
)
from .part_decoder_tbps import PartDecoder, PartDecoderLayer, stripes
from .towers_tbps import ConvStem, WhollyInitialised


@dataclass
class TBPSEmbeddingOutput(BaseModelOutputWithPooling):
    """
    One modality's embeddings.

    Args:
        last_hidden_state: (B, N, width) the tower's tokens after its final norm. token_embeds: (B, N, D), projected.
        pooler_output: (B, E) retrieval vectors, E = D + K*d; the inner product of a text's and an image's is the score.
        global_embeds: (B, D), unit norm. part_embeds: (B, K, d), unit norm.
        part_weights: (B, K) of a sentence, rows sum to 1; None for images and where `config.text_part_weights` is off.
        part_attentions: where `output_part_attentions`: images (B, K, rows, columns), texts (B, K, L); each part's map
            sums to 1.
        part_spread: (B, K) of images, where `config.part_compactness_loss_weight` asks for it; see `part_spread`.
    """

    token_embeds: torch.Tensor | None = None
    global_embeds: torch.Tensor | None = None
    part_embeds: torch.Tensor | None = None
    part_weights: torch.Tensor | None = None
    part_attentions: torch.Tensor | None = None
    part_spread: torch.Tensor | None = None


@dataclass
class TBPSOutput(ModelOutput):
    """
    T texts against I images.

    Args:
        loss: scalar, where `person_ids` were given and `return_loss`; `losses` has its terms, unweighted, by name.
        logits_per_text: (T, I) scaled scores; logits_per_image: (I, T), its transpose.
        text_embeds: (T, E); image_embeds: (I, E). The others as in `TBPSEmbeddingOutput`.
        text_model_output, vision_model_output: the `TBPSEmbeddingOutput` of each side, with its tower's hidden states
            and attentions where they were asked for.
    """

    loss: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    logits_per_image: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    text_part_embeds: torch.Tensor | None = None
    image_part_embeds: torch.Tensor | None = None
    text_global_embeds: torch.Tensor | None = None
    image_global_embeds: torch.Tensor | None = None
    text_part_weights: torch.Tensor | None = None
    text_part_attentions: torch.Tensor | None = None
    image_part_attentions: torch.Tensor | None = None
    image_part_spread: torch.Tensor | None = None
    losses: dict[str, torch.Tensor] | None = None
    text_model_output: TBPSEmbeddingOutput | None = None
    vision_model_output: TBPSEmbeddingOutput | None = None

    def to_tuple(self) -> tuple[Any, ...]:
        """All that is there, the towers' outputs as tuples themselves."""
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())


def joined(
    text: TBPSEmbeddingOutput | None, image: TBPSEmbeddingOutput | None, logit_scale: torch.Tensor
) -> TBPSOutput:
    """The two modalities' outputs, and their scores where both are there."""
    output = TBPSOutput(text_model_output=text, vision_model_output=image)
    if text is not None:
        output.text_embeds, output.text_global_embeds = text.pooler_output, text.global_embeds
        output.text_part_embeds, output.text_part_weights = text.part_embeds, text.part_weights
        output.text_part_attentions = text.part_attentions
    if image is not None:
        output.image_embeds, output.image_global_embeds = image.pooler_output, image.global_embeds
        output.image_part_embeds, output.image_part_attentions = image.part_embeds, image.part_attentions
        output.image_part_spread = image.part_spread
    if text is not None and image is not None:
        output.logits_per_text = logit_scale.exp() * text.pooler_output @ image.pooler_output.T
        output.logits_per_image = output.logits_per_text.T
    return output


# all that a loss sees; tokens are not kept
KEPT = ("pooler_output", "global_embeds", "part_embeds", "part_weights", "part_spread")


def embedded_or_none(
    embed: Callable[..., TBPSEmbeddingOutput],
    inputs: dict[str, torch.Tensor | None],
    chunk_size: int | None,
    settings: dict[str, Any],
) -> TBPSEmbeddingOutput | None:
    """One modality, whole or in chunks; None where it is not given (its first input is None)."""
    given = {name: value for name, value in inputs.items() if value is not None}
    if next(iter(inputs)) not in given:
        return None
    if chunk_size is None:
        return embed(**given, **settings)
    return embed_in_chunks(partial(embed, **settings), given, chunk_size)


def embed_in_chunks(
    embed: Callable[..., TBPSEmbeddingOutput], inputs: dict[str, torch.Tensor], size: int
) -> TBPSEmbeddingOutput:
    """Embed `size` rows at a time and keep the embeddings alone (GradCache, Gao et al., "Scaling Deep Contrastive
    Learning Batch Size under Memory Limited Setup", 2021): the backward pass embeds each chunk again, with the random
    numbers of the first time, so that the activations of one chunk exist at a time and the loss sees the whole batch.

    Args:
        embed: of one modality. inputs: its tensors, (B, ...) each.

    Raises:
        ValueError: `size` below 1.
    """
    if size < 1:
        raise ValueError(f"embed_chunk_size={size}: expected 1 or more rows at a time, or None for the whole batch.")

    def kept(*tensors: torch.Tensor) -> tuple[Any, ...]:
        output = embed(**dict(zip(inputs, tensors, strict=True)))
        return tuple(getattr(output, name) for name in KEPT)

    rows = zip(*(tensor.split(size) for tensor in inputs.values()), strict=True)
    chunks = zip(*(checkpoint(kept, *chunk, use_reentrant=False) for chunk in rows), strict=True)
    found = dict(zip(KEPT, chunks, strict=True))
    return TBPSEmbeddingOutput(**{name: torch.cat(values) for name, values in found.items() if values[0] is not None})


logger = logging.get_logger(__name__)
HALF = (torch.float16, torch.bfloat16)


def check_labels(model: Any, person_ids: torch.Tensor) -> None:
    """Refuse ids that do not fit a model, which is trained or measured on them; warn of training that loses steps."""
    check_person_ids(person_ids, model.config.num_identities if model.training and model.id_head is not None else None)
    # an engine of several processes may show half of what it keeps in float32
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    if several or not model.training or torch.compiler.is_compiling():
        return
    half = next((weight.dtype for weight in model.parameters() if weight.requires_grad and weight.dtype in HALF), None)
    if half is not None:
        logger.warning_once(
            f"Weights of {str(half).removeprefix('torch.')} are trained, in which small steps are lost: load the model "
            "with dtype=torch.float32, or train it by TBPSTrainer, which makes them float32."
        )


def check_person_ids(person_ids: torch.Tensor, classes: int | None = None) -> None:
    """Refuse what says not who is on which pair; with `classes`, also what is none of the instance loss's classes."""
    if not isinstance(person_ids, torch.Tensor):
        raise ValueError(f"person_ids is a {type(person_ids).__name__}: expected a LongTensor (B,), one number a pair.")
    if person_ids.ndim != 1:
        raise ValueError(f"person_ids of shape {tuple(person_ids.shape)}: expected (B,), one number a pair.")
    if person_ids.is_floating_point() or person_ids.is_complex() or person_ids.dtype == torch.bool:
        raise ValueError(f"person_ids of {person_ids.dtype}: expected a LongTensor (B,), one number a pair.")
    if classes and len(person_ids) and not torch.compiler.is_compiling():  # a graph cannot depend on values
        lowest, highest = (int(bound) for bound in person_ids.aminmax())
        if lowest < 0 or highest >= classes:
            raise ValueError(
                f"person_ids from {lowest} to {highest}, but the instance loss has num_identities={classes} classes: "
                "expected 0 to num_identities - 1, as PersonPairs numbers people."
            )


def check_pictures(pixel_values: torch.Tensor, image_size: tuple[int, int]) -> None:
    """Refuse pictures that do not fill the model's position table, and bytes, which are not normalised yet."""
    if not isinstance(pixel_values, torch.Tensor):
        raise ValueError(f"pixel_values is a {type(pixel_values).__name__}: expected a tensor (B, 3, H, W) of floats.")
    if pixel_values.ndim != 4 or tuple(pixel_values.shape[-2:]) != image_size:
        raise ValueError(
            f"pixel_values of shape {tuple(pixel_values.shape)} do not fit a model made for pictures (B, 3, "
            f"{image_size[0]}, {image_size[1]}) (height x width): prepare them with the model's own processor."
        )
    if not pixel_values.is_floating_point():
        raise ValueError(
            f"pixel_values of type {pixel_values.dtype} are not normalised: expected floats, as the model's own "
            "processor makes them (or PixelPreparation.normalize)."
        )


def check_length(input_ids: torch.Tensor, positions: int) -> None:
    """Refuse sentences that do not fit the text tower's position table."""
    if input_ids.shape[-1] > positions:
        raise ValueError(
            f"Sentences of {input_ids.shape[-1]} tokens do not fit a text tower of {positions} positions: prepare them "
            "with the model's own processor, which cuts them."
        )


def refuse_replica(model: nn.Module) -> None:
    """Refuse `torch.nn.DataParallel`."""
    if getattr(model, "_is_replica", False):
        raise RuntimeError(
            "torch.nn.DataParallel splits a batch and with it the negatives of its loss: start one process a device "
            "with `torchrun` or `accelerate launch` instead (or show this process one device only)."
        )


class TBPSPreTrainedModel(WhollyInitialised, PreTrainedModel):
    """What Transformers needs to know of every TBPS model."""

    config: TBPSConfig
    from_checkpoint: frozenset[str] = frozenset()  # names of the parameters that did not start from random weights
    base_model_prefix = "tbps"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # Trainer must divide the loss by the accumulation steps itself
    _no_split_modules = [  # noqa: RUF012 - our own; `post_init` adds the towers'
        "PartDecoder", "ConvStem", "RectangularVisionEmbeddings", "RectangularSiglipEmbeddings",
    ]  # fmt: skip
    _keys_to_ignore_on_load_unexpected = [r"^id_head\."]  # noqa: RUF012 - not part of what is shared
    _supports_sdpa = True
    _supports_flash_attn = True  # in the towers; the part decoder has its own attention
    _supports_flex_attn = True
    _supports_attention_backend = True

    def post_init(self) -> None:
        """Name as indivisible only what this model has: FSDP refuses names that it does not find."""
        super().post_init()
        present = {type(module).__name__ for module in self.modules()}
        self._no_split_modules = sorted(present.intersection(self._no_split_modules))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """`PreTrainedModel.from_pretrained`, of safetensors only. An instance-loss head for another number of people
        than `num_identities` is made anew, with a warning.

        Raises:
            ValueError: it is no checkpoint of tbps, or its configuration cannot be; the weights are a pickle, of other
                sizes than the configuration asks for (unless `ignore_mismatched_sizes`), or not finite.
            OSError: nothing is there, no weights, or the file is damaged.
        """
        source = pretrained_model_name_or_path
        if source is not None and not isinstance(kwargs.get("config"), PreTrainedConfig):
            check_checkpoint(source, TBPSConfig.model_type, kwargs.get("subfolder", ""))
        told = kwargs.pop("output_loading_info", False)
        any_size = kwargs.pop("ignore_mismatched_sizes", False)
        names = ("subfolder", "revision", "token", "cache_dir", "local_files_only")
        hub = {name: kwargs[name] for name in names if name in kwargs}
        settings = {"use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True}
        try:
            with mismatches_untold() as untold, damage_named(f"The checkpoint {source}"):
                model, info = super().from_pretrained(source, *args, **{**kwargs, **settings})
        except SafetensorError as error:
            raise OSError(f"The weights of {source} are damaged ({error}): get the checkpoint again.") from error
        except OSError:
            refuse_pickle(source, **hub)
            raise
        if any_size and untold:
            logger.warning(untold[0])
        elif not any_size:
            refuse_misfits(source, info["mismatched_keys"])
        refuse_broken(source, model.named_parameters())
        model.from_checkpoint = loaded_names(model, info)
        scale = None if source is None else stated_scale(source, kwargs, hub)
        if scale is not None:
            nn.init.constant_(model.logit_scale, scale)
        model.config._commit_hash = None if source is None else commit_of(source, **hub)
        model.freeze()  # loading put other parameters in the place of those that were frozen
        return (model, info) if told else model

    def freeze(self) -> None:
        """Exempt from training what the configuration says is not trained."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, PartDecoder):
            # Small queries: the norm before the attention sets them apart anyhow, and what they read outweighs what
            # they are. Large ones drown the tokens, all people's parts start alike and get no gradient.
            init.normal_(module.queries, std=self.config.initializer_range)
            if module.place_bias is not None:
                init.copy_(module.place_bias, stripes(self.config))
        elif isinstance(module, PartDecoderLayer):
            attention = module.cross_attn
            for linear in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
                init.xavier_uniform_(linear.weight)
            for linear in (module.fc1, module.fc2):
                init.xavier_uniform_(linear.weight)
        elif isinstance(module, ConvStem):
            for layer in module:
                if isinstance(layer, nn.Conv2d):
                    init.kaiming_normal_(layer.weight, nonlinearity="relu")


def loaded_names(model: nn.Module, info: dict[str, Any]) -> frozenset[str]:
    """The names of all parameters but those that were missing or of another size."""
    drawn = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    return frozenset(name for name, _ in model.named_parameters() if name not in drawn)


def stated_scale(source: Any, settings: dict[str, Any], hub: dict[str, Any]) -> float | None:
    """The `logit_scale_init_value` that a caller of `from_pretrained` states, by name or in a configuration of another
    one than the checkpoint's: it wins over the scale that the checkpoint ended with. None where none is stated."""
    config = settings.get("config")
    if not isinstance(config, PreTrainedConfig):
        return settings.get("logit_scale_init_value")
    own = TBPSConfig.get_config_dict(source, **hub)[0].get("logit_scale_init_value")
    scale: float = config.logit_scale_init_value
    return None if own is None or own == scale else scale
