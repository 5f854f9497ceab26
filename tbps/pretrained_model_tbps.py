"""The base class of a TBPS model: its outputs, embedding in chunks, and how Transformers loads and initialises it."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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
from transformers.utils import ModelOutput, has_file
from transformers.utils.logging import get_logger

from .configuration_tbps import TBPSConfig
from .files_tbps import check_checkpoint, commit_of, refuse_non_finite, report_damage
from .part_decoder_tbps import PartDecoder, PartDecoderLayer, stripes
from .towers_tbps import ConvStem, FullInitialisation

logger = get_logger(__name__)

PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
HUB_OPTIONS = ("subfolder", "revision", "token", "cache_dir", "local_files_only")


# -- outputs


@dataclass
class TBPSEmbeddingOutput(BaseModelOutputWithPooling):
    """
    Embeddings of one modality.

    Args:
        last_hidden_state: (B, N, width) tokens of the tower after its final norm.
        token_embeds: (B, N, D) projected tokens.
        pooler_output: (B, E) retrieval vectors, E = D + K*d. The inner product of a text's and an image's is the score.
        global_embeds: (B, D), unit norm.
        part_embeds: (B, K, d), unit norm.
        part_weights: (B, K) of texts, rows sum to 1. None for images, and if `config.text_part_weights` is off.
        part_attentions: with `output_part_attentions`, (B, K, rows, columns) of images and (B, K, L) of texts. The map
            of each part sums to 1.
        part_spread: (B, K) of images, if `config.part_compactness_loss_weight` is above 0; see `part_spread`.
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
    Output of T texts and I images.

    Args:
        loss: scalar, with `person_ids` and `return_loss`.
        losses: the terms of the loss by name, without their coefficients.
        logits_per_text: (T, I) scaled scores.
        logits_per_image: (I, T), its transpose.
        text_embeds, image_embeds: (T, E) and (I, E) retrieval vectors. The other embeddings, weights and attentions are
            those of `TBPSEmbeddingOutput`.
        text_model_output, vision_model_output: the `TBPSEmbeddingOutput` of each modality, with the tower's hidden
            states and attentions if you asked for them.
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
        """Return all values that are set, the outputs of the modalities as tuples too."""
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())


def merge_outputs(
    text: TBPSEmbeddingOutput | None, image: TBPSEmbeddingOutput | None, logit_scale: torch.Tensor
) -> TBPSOutput:
    """Merge the outputs of the two modalities, with their scores if both are given."""
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


# -- embedding in chunks

CHUNK_OUTPUTS = ("pooler_output", "global_embeds", "part_embeds", "part_weights", "part_spread")  # all that losses read


def embed_modality(
    embed: Callable[..., TBPSEmbeddingOutput],
    inputs: dict[str, torch.Tensor | None],
    chunk_size: int | None,
    settings: dict[str, Any],
) -> TBPSEmbeddingOutput | None:
    """Embed one modality, at once or in chunks; return None if its first input is None."""
    given = {name: value for name, value in inputs.items() if value is not None}
    if next(iter(inputs)) not in given:
        return None
    if chunk_size is None:
        return embed(**given, **settings)
    return embed_in_chunks(partial(embed, **settings), given, chunk_size)


def embed_in_chunks(
    embed: Callable[..., TBPSEmbeddingOutput], inputs: dict[str, torch.Tensor], size: int
) -> TBPSEmbeddingOutput:
    """Embed `size` rows at a time, and keep only what losses read.

    The backward pass embeds each chunk again with the same random numbers (GradCache, Gao et al., "Scaling Deep
    Contrastive Learning Batch Size under Memory Limited Setup", 2021). Memory holds the activations of one chunk, and
    the loss still sees the full batch.

    Args:
        embed: embeds one modality.
        inputs: its tensors, (B, ...) each.
        size: rows of a chunk.

    Raises:
        ValueError: `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"embed_chunk_size={size}: expected 1 or more rows at a time, or None for the full batch.")

    def embed_chunk(*tensors: torch.Tensor) -> tuple[Any, ...]:
        output = embed(**dict(zip(inputs, tensors, strict=True)))
        return tuple(getattr(output, name) for name in CHUNK_OUTPUTS)

    rows = zip(*(tensor.split(size) for tensor in inputs.values()), strict=True)
    chunks = zip(*(checkpoint(embed_chunk, *chunk, use_reentrant=False) for chunk in rows), strict=True)
    found = dict(zip(CHUNK_OUTPUTS, chunks, strict=True))
    return TBPSEmbeddingOutput(**{name: torch.cat(values) for name, values in found.items() if values[0] is not None})


# -- the base class


class TBPSPreTrainedModel(FullInitialisation, PreTrainedModel):
    """Base class of TBPS models: settings and hooks for Transformers."""

    config: TBPSConfig
    from_checkpoint: frozenset[str] = frozenset()  # parameters that did not start from random weights, by name
    base_model_prefix = "tbps"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # Trainer must divide the loss by the accumulation steps itself
    _no_split_modules = [  # noqa: RUF012 - our own; `post_init` adds the towers'
        "PartDecoder", "ConvStem", "RectangularVisionEmbeddings", "RectangularSiglipEmbeddings",
    ]  # fmt: skip
    _keys_to_ignore_on_load_unexpected = [r"^id_head\."]  # noqa: RUF012 - not part of a shared model
    _supports_sdpa = True
    _supports_flash_attn = True  # in the towers; the part decoder has its own attention
    _supports_flex_attn = True
    _supports_attention_backend = True

    def post_init(self) -> None:
        """Keep in `_no_split_modules` only modules that this model has: FSDP refuses names that it does not find."""
        super().post_init()
        present = {type(module).__name__ for module in self.modules()}
        self._no_split_modules = sorted(present.intersection(self._no_split_modules))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint as `PreTrainedModel.from_pretrained` does, from safetensors only.

        If the checkpoint has an instance-loss head for another number of people than `num_identities`, the head starts
        from random weights, with a warning.

        Raises:
            ValueError: not a checkpoint of tbps, an invalid configuration, weights in a pickle, weights of other sizes
                than the configuration (unless `ignore_mismatched_sizes`), or weights that are not finite.
            OSError: nothing is there, the weights are missing, or a file is damaged.
        """
        source = pretrained_model_name_or_path
        if source is not None and not isinstance(kwargs.get("config"), PreTrainedConfig):
            check_checkpoint(source, TBPSConfig.model_type, kwargs.get("subfolder", ""))
        return_info = kwargs.pop("output_loading_info", False)
        any_size = kwargs.pop("ignore_mismatched_sizes", False)
        hub = {name: kwargs[name] for name in HUB_OPTIONS if name in kwargs}
        settings = {"use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True}
        try:
            with hold_mismatch_report() as report, report_damage(f"The checkpoint {source}"):
                model, info = super().from_pretrained(source, *args, **{**kwargs, **settings})
        except SafetensorError as error:
            raise OSError(f"The weights of {source} are damaged ({error}). Get the checkpoint again.") from error
        except OSError:
            refuse_pickle(source, **hub)
            raise
        if any_size and report:
            logger.warning(report[0])
        elif not any_size:
            refuse_size_mismatches(source, info["mismatched_keys"])
        refuse_non_finite(source, model.named_parameters())
        model.from_checkpoint = loaded_names(model, info)
        scale = None if source is None else requested_scale(source, kwargs, hub)
        if scale is not None:
            nn.init.constant_(model.logit_scale, scale)
        model.config._commit_hash = None if source is None else commit_of(source, **hub)
        model.freeze()  # loading replaced the parameters that were frozen
        return (model, info) if return_info else model

    def freeze(self) -> None:
        """Freeze the parameters that the configuration does not train."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, PartDecoder):
            # Small queries: the norm before the attention makes them differ anyway, and what they read then outweighs
            # what they are. With large ones all people's parts start alike and get no gradient.
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


# -- loading


def loaded_names(model: nn.Module, info: dict[str, Any]) -> frozenset[str]:
    """Return the names of the parameters that the checkpoint held in the right size."""
    drawn = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    return frozenset(name for name, _ in model.named_parameters() if name not in drawn)


def requested_scale(source: Any, settings: dict[str, Any], hub: dict[str, Any]) -> float | None:
    """Return the `logit_scale_init_value` that a caller of `from_pretrained` asks for, or None.

    A caller asks for it by name, or by a configuration with another value than the checkpoint's. It then wins over the
    scale in the checkpoint's weights.
    """
    config = settings.get("config")
    if not isinstance(config, PreTrainedConfig):
        return settings.get("logit_scale_init_value")
    own = TBPSConfig.get_config_dict(source, **hub)[0].get("logit_scale_init_value")
    scale: float = config.logit_scale_init_value
    return None if own is None or own == scale else scale


@contextmanager
def hold_mismatch_report() -> Iterator[list[str]]:
    """Hold back Transformers' report of weights of other sizes ("reinitialised") while a checkpoint loads.

    `refuse_size_mismatches` decides about those weights. Yields a list that receives the reports.
    """
    held: list[str] = []

    def passes(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if "LOAD REPORT" not in message or "MISMATCH" not in message:
            return True
        held.append(message)
        return False

    modeling_logger = logging.getLogger("transformers.modeling_utils")
    modeling_logger.addFilter(passes)
    try:
        yield held
    finally:
        modeling_logger.removeFilter(passes)


def refuse_pickle(source: Any, subfolder: str = "", **hub: Any) -> None:
    """Refuse a directory or Hub id that has weights as a pickle; call it if there are no safetensors.

    Raises:
        ValueError: it holds a pickle.
    """
    prefix = f"{subfolder}/" if subfolder else ""
    found = [name for name in PICKLES if has_file(source, prefix + name, **hub)]
    if found:
        raise ValueError(
            f"{source} holds {prefix}{found[0]}, a pickle, and no model.safetensors: a pickle can run any code when it "
            "is opened, so tbps loads safetensors only. Ask its author to save it with `save_pretrained` of "
            "Transformers 5, which writes model.safetensors."
        )


def refuse_size_mismatches(source: Any, mismatched: Iterable[tuple[str, Any, Any]]) -> None:
    """Refuse weights of other sizes than the configuration asks for.

    The instance-loss head is an exception: it belongs to the people of one training set, and starts again for others.

    Raises:
        ValueError: names the first weight, with its size in the checkpoint and in the model.
    """
    mismatches = sorted((name, tuple(saved), tuple(made)) for name, saved, made in mismatched)
    heads = [mismatch for mismatch in mismatches if mismatch[0].startswith("id_head.")]
    if others := [mismatch for mismatch in mismatches if mismatch not in heads]:
        name, saved, made = others[0]
        raise ValueError(
            f"{source} has {name} of size {saved}, but the configuration asks for {made} ({len(others)} weights differ "
            "in size). Leave the sizes as the checkpoint has them, or train a model of these sizes from its towers."
        )
    if heads:
        _, saved, made = heads[0]
        logger.warning(
            f"{source} has an instance-loss head for {saved[0]} people, and the configuration asks for {made[0]}: the "
            "head starts from random weights."
        )
