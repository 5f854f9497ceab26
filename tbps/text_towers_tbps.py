"""What a text tower needs besides its own code: SigLIP's fixed length, and which tokens are words."""

from typing import Any

import torch
import torch.nn.functional as F
from transformers import SiglipTextModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .initialisation_tbps import WhollyInitialised


class SiglipTextTower(WhollyInitialised, SiglipTextModel):
    """SigLIP's text model at the length that it was trained with, however the sentences were padded.

    SigLIP pools the last position, which is padding in all but the longest sentences, and attends to padding too: a
    batch padded to its own longest sentence would give a sentence another embedding than the next batch.
    """

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """(B, L) -> last_hidden_state (B, L, width), of the sentence's own tokens, and pooler_output (B, width).

        Hidden states and attentions, where asked for, have the full length.

        Raises:
            ValueError: `position_ids` are given.

        Args:
            attention_mask: says which tokens are padding of any id; the tower itself reads SigLIP's own padding there.
        """
        if kwargs.pop("position_ids", None) is not None:
            raise ValueError("position_ids: SigLIP's text tower reads every sentence at its full length, from 0 on.")
        length, pad = input_ids.shape[1], self.config.pad_token_id
        if attention_mask is not None:
            input_ids = input_ids.masked_fill(attention_mask == 0, pad)
        padded = F.pad(input_ids, (0, self.config.max_position_embeddings - length), value=pad)
        output = super().forward(padded, **kwargs)
        own = torch.arange(length, device=input_ids.device)  # a slice would be exported for shorter sentences only
        output.last_hidden_state = output.last_hidden_state.index_select(1, own)
        return output


def content_mask(
    input_ids: torch.Tensor, attention_mask: torch.Tensor | None, special_ids: list[int], end_id: int | None
) -> torch.Tensor:
    """(B, L) bool: True on the words of a sentence, False on padding, special tokens and all that follows the end."""
    content = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    for special in special_ids:
        content = content & (input_ids != special)
    if end_id is not None:  # padding needs no id of its own where the sentence has an end
        content = content & ((input_ids == end_id).cumsum(dim=1) == 0)
    return content | ~content.any(dim=1, keepdim=True)  # a row without words looks at all it has, not at NaN
