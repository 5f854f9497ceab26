"""What a gallery can be asked: sentences, images, and sentences that refine an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tbps.data.images import ImageSource
from tbps.evaluation.encoding import encode_images, encode_texts
from tbps.gallery.checks import check_text, shown
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor


@dataclass(frozen=True)
class Query:
    """A sentence, an image of a person, or both: "this person, but in a red coat".

    Args:
        text: the sentence. image: a file or a picture.
        text_weight: how much the sentence counts where there is an image too, in [0, 1]. A hit's score is then
            (1 - text_weight) times its likeness to the image plus text_weight times its fit to the sentence.

    Raises:
        ValueError: neither of the two, a share out of range, a sentence that is no Unicode text.
        TypeError: a sentence that is no text, a share that is no number.
    """

    text: str | None = None
    image: ImageSource | None = None
    text_weight: float = 0.5

    def __post_init__(self) -> None:
        if self.text is None and self.image is None:
            raise ValueError("Query() asks for nothing: give a text, an image or both.")
        if self.text is not None and not isinstance(self.text, str):
            raise TypeError(f"Query(text={self.text!r}): expected a sentence.")
        if self.text is not None:
            check_text("The sentence of a query", self.text)
        if not isinstance(self.text_weight, Real) or isinstance(self.text_weight, bool):
            raise TypeError(f"Query(text_weight={shown(self.text_weight)}): expected a number from 0 to 1.")
        if not 0 <= self.text_weight <= 1:
            raise ValueError(f"Query(text_weight={self.text_weight}): expected a number from 0 to 1.")


def as_query(asked: Any) -> Query:
    """A sentence, a path or a picture as a `Query`.

    Raises:
        TypeError: it is of another type.
    """
    if isinstance(asked, Query):
        return asked
    if isinstance(asked, str):
        return Query(text=asked)
    if isinstance(asked, Path | Image.Image | bytes):
        return Query(image=asked)
    raise TypeError(
        f"Cannot search for {asked!r}: expected a sentence, an image (Path or PIL image), a Query, or a list of them."
    )


def query_vectors(model: TBPSModel, processor: TBPSProcessor, queries: Sequence[Query]) -> np.ndarray:
    """The vector (E,) of each query, (Q, E) float32: inner products with stored vectors are the scores.

    Raises:
        ValueError: a sentence without words. BadImageError: an image that cannot be read.
    """
    vectors = np.zeros((len(queries), model.config.embedding_dim), np.float32)
    told = [i for i, query in enumerate(queries) if query.text is not None]
    shown = [i for i, query in enumerate(queries) if query.image is not None]
    shares = np.array([[_share(query)] for query in queries], np.float32)  # (Q, 1)
    if told:
        texts = [text for query in queries if (text := query.text) is not None]
        vectors[told] += shares[told] * encode_texts(model, processor, texts, progress=False).numpy()
    if shown:
        images = [image for query in queries if (image := query.image) is not None]
        vectors[shown] += (1 - shares[shown]) * encode_images(model, processor, images, progress=False).numpy()
    return vectors


def _share(query: Query) -> float:
    """How much the sentence counts."""
    if query.image is None:
        return 1.0
    return 0.0 if query.text is None else query.text_weight
