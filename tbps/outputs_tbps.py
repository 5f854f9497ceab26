"""What a [`TBPSModel`] returns."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput


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
