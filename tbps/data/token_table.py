"""Token ids of many captions in one flat array."""

from collections.abc import Sequence

import numpy as np


class TokenTable:
    """Captions of different lengths, 4 bytes a token; as lists of Python numbers they took ten times as much, and
    again in every loader process.

    Attributes:
        lengths: (captions,) tokens of each, special ones included.
    """

    def __init__(self, captions: Sequence[Sequence[int]]) -> None:
        self.lengths = np.fromiter((len(ids) for ids in captions), dtype=np.int64, count=len(captions))
        self.ends = self.lengths.cumsum()
        total = int(self.ends[-1]) if len(captions) else 0
        self.tokens = np.fromiter((token for ids in captions for token in ids), dtype=np.int32, count=total)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> list[int]:
        """The token ids of one caption."""
        end = int(self.ends[index])
        return self.tokens[end - int(self.lengths[index]) : end].tolist()
