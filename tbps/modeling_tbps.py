"""TBPSModel: a dual encoder with a shared part decoder, which gives one retrieval vector per image or text."""

from collections.abc import Callable
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import TransformersKwargs, can_return_tuple

from .configuration_tbps import TBPSConfig
from .loss_tbps import check_person_ids, check_training, sum_losses, tbps_losses
from .matching_losses_tbps import part_spread
from .part_decoder_tbps import PartDecoder, content_mask, special_tokens
from .pipeline_tbps import TextBasedPersonSearchPipeline  # noqa: F401 - saving a model copies the files it imports
from .pretrained_model_tbps import (
    TBPSEmbeddingOutput,
    TBPSOutput,
    TBPSPreTrainedModel,
    embed_modality,
    merge_outputs,
)
from .tower_weights_tbps import check_fields, float_type, given_names, load_towers, read_towers
from .towers_tbps import POOLING, ConvStem, build_tower, check_pixels, check_token_count, freeze_unused

DATA_PARALLEL = (
    "torch.nn.DataParallel splits a batch, and with it the negatives of the loss. Start one process per device with "
    "`torchrun` or `accelerate launch`, or make only one device visible to this process."
)
# (output, person_ids) of one process -> those of all processes, and trust in each pair or None
Gather = Callable[[TBPSOutput, torch.Tensor], tuple[TBPSOutput, torch.Tensor, torch.Tensor | None]]


class TBPSModel(TBPSPreTrainedModel):
    """Dual encoder with a shared part decoder (arXiv 2501.00318). `TBPSConfig` has its settings.

    D = `config.projection_dim`, K = `config.num_parts`, d = `config.part_dim`, E = D + K*d = `config.embedding_dim`.
    """

    def __init__(self, config: TBPSConfig) -> None:
        super().__init__(config)
        self.stem = ConvStem(config.stem_channels) if config.stem_channels else None
        self.vision_model = build_tower(config.vision_config)
        self.text_model = build_tower(config.text_config)
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, config.projection_dim, bias=False)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        vision, text = config.vision_config.hidden_size, config.text_config.hidden_size
        self.part_visual_projection = _layer_projection(config, vision, config.part_image_layer)
        self.part_visual_key_projection = _layer_projection(config, vision, config.part_image_key_layer)
        self.part_text_key_projection = _layer_projection(config, text, config.part_text_key_layer)
        self.part_decoder = PartDecoder(config)
        self.part_weighting = nn.Linear(config.projection_dim, 1) if config.text_part_weights else None
        self.id_head = nn.Linear(config.projection_dim, config.num_identities) if config.num_identities else None
        self.logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
        self.freeze()
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            init.constant_(self.logit_scale, self.config.logit_scale_init_value)
            for name, projection in self.named_children():
                if name.endswith("_projection"):
                    init.normal_(projection.weight, std=projection.in_features**-0.5)

    def freeze(self) -> None:
        """Freeze the similarity scale, and the towers' own pooling if it is not used."""
        self.logit_scale.requires_grad_(False)
        for tower in (self.vision_model, self.text_model):
            freeze_unused(tower, pools=self.config.pooling == "tower")

    @classmethod
    def from_vision_text_pretrained(
        cls,
        vision: str,
        text: str | None = None,
        image_size: tuple[int, int] | None = None,
        interpolation: str = "bicubic",
        text_length: int | None = None,
        **config_kwargs: Any,
    ) -> "TBPSModel":
        """Build a model whose towers start from published checkpoints and whose decoder starts from random weights.

        The model is in evaluation mode, as after `from_pretrained`. `TBPSProcessor.from_vision_text_pretrained` builds
        its processor.

        Args:
            vision, text: model ids or directories: one CLIP-like checkpoint if `text` is None, else two towers, whose
                projections start from random weights.
            image_size: (H, W) in pixels, to which the position table is resized once. None keeps the checkpoint's.
            interpolation: "bicubic" or "bilinear".
            text_length: tokens of the longest text. A CLIP text tower with fewer positions is stretched once.
            config_kwargs: further fields of `TBPSConfig`, `dtype` (default float32, whatever the towers' own) or
                `attn_implementation`. They replace what the towers bring, such as the similarity scale.
                `vision_config` and `text_config` may give single settings of the towers. `part_weight` defaults to 0,
                because the parts are untrained. With two towers, `projection_dim` defaults to 512.

        Raises:
            ValueError: a checkpoint lacks a tower or its special tokens, patches do not fill the image size, sizes
                differ from the towers' (the message has both), or a text tower other than CLIP's has too few positions.
        """
        check_fields(config_kwargs)
        dtype = float_type(config_kwargs.pop("dtype", None))
        settings = {name: config_kwargs.pop(name, None) for name in ("vision_config", "text_config")}
        towers = read_towers(vision, text, image_size, interpolation, text_length, **settings)
        fields = towers.fields
        given = config_kwargs.pop("special_token_ids", None)
        chosen = given_names(settings["text_config"])
        fields["special_token_ids"] = special_tokens(text or vision, fields["text_config"], given, chosen)
        model = cls(TBPSConfig(**{"part_weight": 0.0, **fields, **config_kwargs}))
        load_towers(model, towers.weights, vision, towers.untrained)
        return model.to(dtype).eval()

    def get_input_embeddings(self) -> nn.Module:
        """Return the text tower's token table."""
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the text tower's token table."""
        self.text_model.set_input_embeddings(value)

    @can_return_tuple
    def get_text_features(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        output_part_attentions: bool = False,
        **kwargs: Unpack[TransformersKwargs],  # type: ignore[misc] # untyped for mypy
    ) -> TBPSEmbeddingOutput:
        """Embed texts: (B, L) token ids -> `TBPSEmbeddingOutput`; `pooler_output` (B, E) is the retrieval vector.

        Raises:
            ValueError: more tokens than the text tower has positions.
        """
        config = self.config
        check_token_count(input_ids, config.text_config.max_position_embeddings)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if position_ids is not None:
            inputs["position_ids"] = position_ids
        content = content_mask(input_ids, attention_mask, config.masked_token_ids, config.text_config.eos_token_id)
        output, hidden_states = self._run_tower(self.text_model, inputs, kwargs, [config.part_text_key_layer])
        embedded = self._embed_global(output, hidden_states, self.text_projection, content)
        keys = _project_hidden(self.part_text_key_projection, output, config.part_text_key_layer)
        embedded.part_embeds, states, embedded.part_attentions = self.part_decoder(
            embedded.token_embeds, content, output_part_attentions, keys
        )
        if self.part_weighting is not None:
            embedded.part_weights = self.part_weighting(states)[:, :, 0].softmax(dim=-1)  # (B, K)
        embedded.pooler_output = self._retrieval_vector(embedded)
        return embedded

    @can_return_tuple
    def get_image_features(
        self,
        pixel_values: torch.FloatTensor,
        output_part_attentions: bool = False,
        **kwargs: Unpack[TransformersKwargs],  # type: ignore[misc] # untyped for mypy
    ) -> TBPSEmbeddingOutput:
        """Embed images: (B, 3, H, W) -> `TBPSEmbeddingOutput`; `pooler_output` (B, E) is the retrieval vector.

        Raises:
            ValueError: images of another size than `config.image_size`, integers, or a tower that merges patches.
        """
        config = self.config
        check_pixels(pixel_values, config.image_size)
        if self.stem is not None:
            pixel_values = self.stem(pixel_values.to(self.dtype))
        layers = [config.part_image_layer, config.part_image_key_layer]
        output, hidden_states = self._run_tower(self.vision_model, {"pixel_values": pixel_values}, kwargs, layers)
        content, prefix = self._patch_mask(output.last_hidden_state)
        embedded = self._embed_global(output, hidden_states, self.visual_projection, content)
        tokens = _project_hidden(self.part_visual_projection, output, config.part_image_layer)
        keys = _project_hidden(self.part_visual_key_projection, output, config.part_image_key_layer)
        compact = bool(config.part_compactness_loss_weight)
        embedded.part_embeds, _, attention = self.part_decoder(
            embedded.token_embeds if tokens is None else tokens,
            content,
            output_part_attentions or compact,
            keys,
            patches=True,
        )
        if attention is not None:
            attention = attention[..., prefix:].unflatten(-1, config.patch_grid)  # (B, K, rows, columns)
            embedded.part_spread = part_spread(attention) if compact else None
            embedded.part_attentions = attention if output_part_attentions else None
        embedded.pooler_output = self._retrieval_vector(embedded)
        return embedded

    def _run_tower(
        self, tower: nn.Module, inputs: dict[str, Any], kwargs: dict[str, Any], layers: list[int | None]
    ) -> tuple[BaseModelOutputWithPooling, tuple[torch.Tensor, ...] | None]:
        """Run a tower, with hidden states if `layers` need them; return them too if `kwargs` ask for them."""
        wanted = kwargs.pop("output_hidden_states", self.config.output_hidden_states)
        needed = any(layer is not None for layer in layers)
        output = tower(**inputs, **{**kwargs, "return_dict": True, "output_hidden_states": wanted or needed})
        return output, output.hidden_states if wanted else None

    def _patch_mask(self, tokens: torch.Tensor) -> tuple[torch.Tensor, int]:
        """Mark the patches among a vision tower's tokens: (B, N) bool, and the number of tokens before them (CLS)."""
        rows, columns = self.config.patch_grid
        batch, count = tokens.shape[:2]
        prefix = count - rows * columns
        if prefix < 0:
            raise ValueError(
                f"The vision tower ({self.config.vision_config.model_type}) gives {count} tokens for {rows}x{columns} "
                "patches of its configuration: towers that merge patches, such as Swin, are not supported."
            )
        content = torch.ones(batch, count, dtype=torch.bool, device=tokens.device)
        content[:, :prefix] = False
        return content, prefix

    def _embed_global(
        self,
        output: BaseModelOutputWithPooling,
        hidden_states: tuple[torch.Tensor, ...] | None,
        projection: nn.Linear,
        content: torch.Tensor,
    ) -> TBPSEmbeddingOutput:
        """Project a tower's tokens to (B, N, D), and pool them into global embeddings (B, D)."""
        tokens = projection(output.last_hidden_state)  # (B, N, D)
        pooled = POOLING[self.config.pooling](projection, output, tokens, content)  # (B, D)
        return TBPSEmbeddingOutput(
            last_hidden_state=output.last_hidden_state,
            hidden_states=hidden_states,
            attentions=output.get("attentions"),
            token_embeds=tokens,
            global_embeds=F.normalize(pooled, dim=-1),
        )

    def _retrieval_vector(self, embedded: TBPSEmbeddingOutput) -> torch.Tensor:
        """Build [ sqrt(1-w) global | sqrt(w/K) part_1 | ... ] (B, E), with part k of a text multiplied by K a_k."""
        weight, count = self.config.part_weight, self.config.num_parts
        parts = (weight / count) ** 0.5 * embedded.part_embeds
        if embedded.part_weights is not None:
            parts = parts * (count * embedded.part_weights)[:, :, None]
        return torch.cat([(1 - weight) ** 0.5 * embedded.global_embeds, parts.flatten(1)], dim=1)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        person_ids: torch.LongTensor | None = None,
        return_loss: bool = True,
        output_part_attentions: bool = False,
        embed_chunk_size: int | None = None,
        gather: Gather | None = None,
        part_factor: float = 1.0,
        **kwargs: Unpack[TransformersKwargs],  # type: ignore[misc] # untyped for mypy
    ) -> TBPSOutput:
        """Embed either modality or both; with both and `person_ids` (B,), compute the training loss on this batch too.

        Args:
            gather: joins the pairs of all processes for the loss. The model calls it, not the trainer: a wrapper that
                counts or shards parameters must see `forward` use those that the loss needs.
            part_factor: factor of the losses of parts, which a trainer may change during training.
            embed_chunk_size: embed this many rows at a time, and again in the backward pass, so that memory grows with
                the chunk and not with B (see `embed_in_chunks`). The output then has embeddings and scores only.

        Raises:
            ValueError: neither modality; `person_ids` that do not match the pairs; `embed_chunk_size` below 1.
            RuntimeError: the model runs under `torch.nn.DataParallel`.
        """
        if getattr(self, "_is_replica", False):
            raise RuntimeError(DATA_PARALLEL)
        if input_ids is None and pixel_values is None:
            raise ValueError("TBPSModel got neither input_ids nor pixel_values: give texts, images or both.")
        if person_ids is not None and return_loss:  # before the towers run, while the device has nothing to wait for
            check_training(self, person_ids)
        kwargs |= {"output_part_attentions": output_part_attentions, "return_dict": True}
        words = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
        text = embed_modality(self.get_text_features, words, embed_chunk_size, kwargs)
        image = embed_modality(self.get_image_features, {"pixel_values": pixel_values}, embed_chunk_size, kwargs)
        output = merge_outputs(text, image, self.logit_scale)
        if person_ids is not None and return_loss:
            pairs, ids, trust = (output, person_ids, None) if gather is None else gather(output, person_ids)
            output.losses = self.compute_losses(pairs, ids, trust)
            output.loss = self.total_loss(output.losses, part_factor)
        return output

    def compute_losses(
        self, output: TBPSOutput, person_ids: torch.Tensor, pair_weights: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Compute the loss terms by name, without coefficients, on the pairs (row b of texts and images) of `output`.

        Evaluation leaves out the instance loss: people of val and test are not among its classes.

        Args:
            output: embeddings of this process, or gathered from several.
            person_ids: (B,).
            pair_weights: (B,) in [0, 1], trust in each pair (see `matching_losses_tbps`); None trusts all.

        Raises:
            ValueError: one modality only, other numbers of texts, images and ids, or ids that are not integers (B,).
        """
        check_person_ids(person_ids)
        sizes = [None if x is None else len(x) for x in (output.text_embeds, output.image_embeds, person_ids)]
        if len(set(sizes)) != 1:
            raise ValueError(
                f"The loss needs pairs: got {sizes[0]} texts, {sizes[1]} images and {sizes[2]} person_ids; "
                "give as many of each (repeat an image for each of its captions)."
            )
        # autocast would multiply float32 embeddings in half precision, whose steps are larger than hinges
        with torch.autocast(output["text_embeds"].device.type, enabled=False):
            return tbps_losses(
                self.config,
                text_global=output["text_global_embeds"].float(),
                image_global=output["image_global_embeds"].float(),
                text_parts=output["text_part_embeds"].float(),
                image_parts=output["image_part_embeds"].float(),
                text_part_weights=output.text_part_weights,
                image_part_spread=output.image_part_spread,
                person_ids=person_ids.long(),
                scale=self.logit_scale.exp().clamp(max=100),
                id_head=self.id_head if self.training else None,
                pair_weights=pair_weights,
            )

    def total_loss(self, losses: dict[str, torch.Tensor], part_factor: float = 1.0) -> torch.Tensor:
        """Add up the loss terms, see `sum_losses`."""
        return sum_losses(self.config, losses, part_factor)

    def drop_id_head(self) -> None:
        """Remove the instance-loss head, which belongs to the training set and is not shared."""
        self.id_head = None
        self.config.num_identities = 0


def _layer_projection(config: TBPSConfig, width: int, layer: int | None) -> nn.Linear | None:
    """Projection of a tower's hidden state for the part decoder; None if parts do not read that layer."""
    return None if layer is None else nn.Linear(width, config.projection_dim, bias=False)


def _project_hidden(
    projection: nn.Linear | None, output: BaseModelOutputWithPooling, layer: int | None
) -> torch.Tensor | None:
    """Project a layer's hidden state to (B, N, D), without the padding that SigLIP's text tower appends."""
    count = output.last_hidden_state.shape[1]
    return None if projection is None else projection(output.hidden_states[layer][:, :count])


__all__ = ["TBPSModel", "TBPSPreTrainedModel"]
