"""What a [`TBPSModel`] returns."""

from dataclasses import dataclass

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput


@dataclass
class TBPSEmbeddingOutput(BaseModelOutputWithPooling):
    """
    One modality's embeddings.

    Args:
        last_hidden_state: (B, N, D) projected tokens.
        pooler_output: (B, E) retrieval vectors, E = D + K*d; the inner product of a text's and an image's is the score.
        global_embeds: (B, D), unit norm. part_embeds: (B, K, d), unit norm.
        part_weights: (B, K) of a sentence, rows sum to 1; None for images and where `config.text_part_weights` is off.
        part_attentions: where `output_part_attentions`: images (B, K, rows, columns), texts (B, K, L); each part's map
            sums to 1.
    """

    global_embeds: torch.Tensor | None = None
    part_embeds: torch.Tensor | None = None
    part_weights: torch.Tensor | None = None
    part_attentions: torch.Tensor | None = None


@dataclass
class TBPSOutput(ModelOutput):
    """
    T texts against I images.

    Args:
        loss: scalar, where `person_ids` were given and `return_loss`; `losses` has its terms, unweighted, by name.
        logits_per_text: (T, I) scaled scores; logits_per_image: (I, T), its transpose.
        text_embeds: (T, E); image_embeds: (I, E). The others as in `TBPSEmbeddingOutput`.
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
    losses: dict[str, torch.Tensor] | None = None
