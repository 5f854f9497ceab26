"""TBPSModel: a dual encoder and a part decoder shared by both modalities, behind one retrieval vector a side."""

from collections.abc import Callable
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import TransformersKwargs, can_return_tuple

from .configuration_tbps import TBPSConfig
from .loss_tbps import PART_LOSSES, tbps_losses
from .matching_losses_tbps import part_spread
from .part_decoder_tbps import PartDecoder, special_tokens
from .pipeline_tbps import TextBasedPersonSearchPipeline  # noqa: F401 - saving a model copies the files it imports
from .pretrained_model_tbps import (
    TBPSEmbeddingOutput,
    TBPSOutput,
    TBPSPreTrainedModel,
    check_labels,
    check_length,
    check_person_ids,
    check_pictures,
    embedded_or_none,
    joined,
    refuse_replica,
)
from .tower_weights_tbps import check_fields, float_type, names_of, put_towers, read_towers
from .towers_tbps import POOLING, ConvStem, build_tower, content_mask, freeze_unused

# output and person_ids of one process -> those of all, and how far each pair is trusted, or None
Gather = Callable[[TBPSOutput, torch.Tensor], tuple[TBPSOutput, torch.Tensor, torch.Tensor | None]]


class TBPSModel(TBPSPreTrainedModel):
    """Dual encoder with a shared part decoder (arXiv 2501.00318); see `TBPSConfig` for its settings.

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
        self.part_visual_projection = _own_projection(config, vision, config.part_image_layer)
        self.part_visual_key_projection = _own_projection(config, vision, config.part_image_key_layer)
        self.part_text_key_projection = _own_projection(config, text, config.part_text_key_layer)
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
        """The scale is trained only where the configuration says so, a tower's own pooling where it is used."""
        self.logit_scale.requires_grad_(self.config.learn_logit_scale)
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
        """A model whose towers start from published checkpoints, its decoder from random weights.

        It is in evaluation mode, as `from_pretrained` gives it; `TBPSProcessor.from_vision_text_pretrained` makes its
        processor.

        Args:
            vision, text: model ids or directories; one CLIP-like checkpoint for both where `text` is None, else two
                towers (whose projections then start from random weights too).
            image_size: (H, W) in pixels; the position table is resized once. None keeps the checkpoint's.
            interpolation: "bicubic" or "bilinear".
            text_length: tokens of the longest caption; a CLIP text tower of fewer positions is stretched to it once.
            config_kwargs: further fields of `TBPSConfig`, or `dtype` (float32 unless given, whatever the towers are
                stored in), `attn_implementation`. What they state wins over what the towers bring, such as the
                similarity scale; `vision_config` and `text_config` may state single settings of the towers.
                `part_weight` is 0 unless given: the parts are untrained. Two towers need `projection_dim` where 512 is
                not what is wanted.

        Raises:
            ValueError: a checkpoint without the tower that is asked of it, or without special tokens that are known; an
                image size that patches do not fill; sizes that do not fit the towers' (both are named); more tokens
                than a text tower other than CLIP's has positions.
        """
        check_fields(config_kwargs)
        dtype = float_type(config_kwargs.pop("dtype", None))
        stated = {name: config_kwargs.pop(name, None) for name in ("vision_config", "text_config")}
        towers = read_towers(vision, text, image_size, interpolation, text_length, **stated)
        fields = towers.fields
        given = config_kwargs.pop("special_token_ids", None)
        chosen = names_of(stated["text_config"])
        fields["special_token_ids"] = special_tokens(text or vision, fields["text_config"], given, chosen)
        model = cls(TBPSConfig(**{"part_weight": 0.0, **fields, **config_kwargs}))
        put_towers(model, towers.weights, vision, towers.untrained)
        return model.to(dtype).eval()

    def get_input_embeddings(self) -> nn.Module:
        """The text tower's token table."""
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
        """(B, L) token ids -> `TBPSEmbeddingOutput`, whose `pooler_output` (B, E) is the retrieval vector.

        Raises:
            ValueError: more tokens than the text tower has positions.
        """
        check_length(input_ids, self.config.text_config.max_position_embeddings)
        if position_ids is not None:
            kwargs["position_ids"] = position_ids
        config = self.config
        hidden = kwargs.pop("output_hidden_states", config.output_hidden_states)
        output = self.text_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            **{**kwargs, "return_dict": True, "output_hidden_states": hidden or config.part_text_key_layer is not None},
        )
        end_id = config.text_config.eos_token_id
        content = content_mask(
            input_ids, attention_mask, config.masked_token_ids, end_id if isinstance(end_id, int) else None
        )
        embedded = self._embed_global(output, self.text_projection, content)
        keys = _early(self.part_text_key_projection, output, config.part_text_key_layer)
        embedded.hidden_states = output.hidden_states if hidden else None
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
        """(B, 3, H, W) pictures -> `TBPSEmbeddingOutput`, whose `pooler_output` (B, E) is the retrieval vector.

        Raises:
            ValueError: pictures of another size than `config.image_size`, or integers.
        """
        check_pictures(pixel_values, self.config.image_size)
        if self.stem is not None:
            pixel_values = self.stem(pixel_values.to(self.dtype))
        config = self.config
        early = (config.part_image_layer, config.part_image_key_layer) != (None, None)
        hidden = kwargs.pop("output_hidden_states", config.output_hidden_states)
        output = self.vision_model(
            pixel_values=pixel_values,
            **{**kwargs, "return_dict": True, "output_hidden_states": hidden or early},
        )
        rows, columns = config.patch_grid
        batch, count = output.last_hidden_state.shape[:2]
        content = torch.ones(batch, count, dtype=torch.bool, device=output.last_hidden_state.device)
        prefix = count - rows * columns  # CLS and its kin stand before the patches
        if prefix < 0:
            raise ValueError(
                f"The vision tower ({config.vision_config.model_type}) gives {count} tokens, its configuration "
                f"speaks of {rows}x{columns} patches: towers that merge patches, as Swin does, are not supported."
            )
        content[:, :prefix] = False
        embedded = self._embed_global(output, self.visual_projection, content)
        tokens = _early(self.part_visual_projection, output, config.part_image_layer)
        keys = _early(self.part_visual_key_projection, output, config.part_image_key_layer)
        embedded.hidden_states = output.hidden_states if hidden else None
        compact = bool(config.part_compactness_loss_weight)
        embedded.part_embeds, _, attention = self.part_decoder(
            embedded.token_embeds if tokens is None else tokens,
            content,
            output_part_attentions or compact,
            keys,
            patches=True,
        )
        if attention is not None:
            attention = attention[..., prefix:].unflatten(-1, (rows, columns))
            embedded.part_spread = part_spread(attention) if compact else None
            embedded.part_attentions = attention if output_part_attentions else None
        embedded.pooler_output = self._retrieval_vector(embedded)
        return embedded

    def _embed_global(
        self, output: BaseModelOutputWithPooling, projection: nn.Linear, content: torch.Tensor
    ) -> TBPSEmbeddingOutput:
        """Projected tokens (B, N, D) and the global embedding (B, D) of a tower's output."""
        tokens = projection(output.last_hidden_state)  # (B, N, D)
        pooled = POOLING[self.config.pooling](projection, output, tokens, content)  # (B, D)
        return TBPSEmbeddingOutput(
            last_hidden_state=output.last_hidden_state,
            hidden_states=output.get("hidden_states"),
            attentions=output.get("attentions"),
            token_embeds=tokens,
            global_embeds=F.normalize(pooled, dim=-1),
        )

    def _retrieval_vector(self, embedded: TBPSEmbeddingOutput) -> torch.Tensor:
        """[ sqrt(1-w) global | sqrt(w/K) part_1 | ... ] (B, E); a sentence's part k is multiplied by K a_k."""
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
        """Embeds either modality or both; with `person_ids` (B,) and both, also the training loss on this batch.

        Args:
            gather: joins the pairs of all processes for the loss. It is called in here and not by a trainer, as
                parameters that the loss uses must be used inside of `forward` where a wrapper counts or shards them.
            part_factor: of the losses of parts, which a trainer may change while it trains.
            embed_chunk_size: embed so many rows at a time, and again in the backward pass, so that memory grows with
                the chunk and not with B (see `embed_in_chunks`). The output then holds embeddings and scores alone.

        Raises:
            ValueError: neither modality; `person_ids` that do not fit the pairs; `embed_chunk_size` below 1.
            RuntimeError: run under `torch.nn.DataParallel`.
        """
        refuse_replica(self)
        if input_ids is None and pixel_values is None:
            raise ValueError("TBPSModel got neither input_ids nor pixel_values: give sentences, images or both.")
        if person_ids is not None and return_loss:  # before the towers run: a device still has nothing to wait for
            check_labels(self, person_ids)
        kwargs |= {"output_part_attentions": output_part_attentions, "return_dict": True}
        words = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids}
        text = embedded_or_none(self.get_text_features, words, embed_chunk_size, kwargs)
        image = embedded_or_none(self.get_image_features, {"pixel_values": pixel_values}, embed_chunk_size, kwargs)
        output = joined(text, image, self.logit_scale)
        if person_ids is not None and return_loss:
            pairs, ids, trust = (output, person_ids, None) if gather is None else gather(output, person_ids)
            output.losses = self.compute_losses(pairs, ids, trust)
            output.loss = self.total_loss(output.losses, part_factor)
        return output

    def compute_losses(
        self, output: TBPSOutput, person_ids: torch.Tensor, pair_weights: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """The loss terms by name, unweighted, on the pairs (row b of texts and of images) of `output`.

        `output` may hold embeddings gathered from several processes. `pair_weights` (B,) in [0, 1] says how far each
        pair is trusted (see `commonality_tbps`). The instance loss is left out of evaluation:
        people of val and test are none of its classes.

        Raises:
            ValueError: one modality only, numbers of texts, images and ids that differ, ids that are no integers (B,).
        """
        check_person_ids(person_ids)
        sizes = [None if x is None else len(x) for x in (output.text_embeds, output.image_embeds, person_ids)]
        if len(set(sizes)) != 1:
            raise ValueError(
                f"The loss needs pairs: got {sizes[0]} texts, {sizes[1]} images and {sizes[2]} person_ids; "
                "give as many of each (repeat an image for each of its captions)."
            )
        # autocast would multiply float32 embeddings in half precision, and hinges are smaller than its steps
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
        """Sum of the loss terms, each times its coefficient in the configuration; those of parts also times
        `part_factor`.

        Raises:
            ValueError: there are none.
        """
        if not losses:
            raise ValueError(
                "There is no loss term: all `_loss_weight`s of the configuration are 0, or all but that of the "
                "instance loss, which is left out of evaluation; expected one above 0."
            )
        factors = dict.fromkeys(PART_LOSSES, part_factor)
        terms = [
            factors.get(name, 1.0) * getattr(self.config, f"{name}_loss_weight") * term for name, term in losses.items()
        ]
        return torch.stack(terms).sum()

    def drop_id_head(self) -> None:
        """Forget the instance-loss head: it belongs to the training set and is left out of what is shared."""
        self.id_head = None
        self.config.num_identities = 0


def _own_projection(config: TBPSConfig, width: int, layer: int | None) -> nn.Linear | None:
    """A projection of a tower's hidden state for the part decoder, where one is asked for."""
    return None if layer is None else nn.Linear(width, config.projection_dim, bias=False)


def _early(projection: nn.Linear | None, output: BaseModelOutputWithPooling, layer: int | None) -> torch.Tensor | None:
    """A tower's hidden state of a layer, projected: (B, N, D). SigLIP's text tower also gives padding, at the end."""
    count = output.last_hidden_state.shape[1]
    return None if projection is None else projection(output.hidden_states[layer][:, :count])


__all__ = ["TBPSModel", "TBPSPreTrainedModel"]
