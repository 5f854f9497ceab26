"""Queries of a gallery: text, images, and text that refines an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tbps.data.images import ImageSource
from tbps.evaluation.encoding import encode_images, encode_texts
from tbps.gallery.checks import check_text, refuse_renamed_fields, shown
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor


@refuse_renamed_fields(text_share="text_weight")
@dataclass(frozen=True)
class Query:
    """
    A text, an image of a person, or both: "this person, but in a red coat".

    Args:
        text: a description of a person.
        image: a file or an image.
        text_weight: the weight of the text if there is an image too, in [0, 1]. A hit's score is then
            (1 - text_weight) times its score for the image plus text_weight times its score for the text.

    Raises:
        ValueError: neither text nor image, a weight out of range, or a text that is not valid Unicode.
        TypeError: a text or a weight of another type.
    """

    text: str | None = None
    image: ImageSource | None = None
    text_weight: float = 0.5

    def __post_init__(self) -> None:
        if self.text is None and self.image is None:
            raise ValueError("Query() is empty: give a text, an image or both.")
        if self.text is not None and not isinstance(self.text, str):
            raise TypeError(f"Query(text={self.text!r}): expected text.")
        if self.text is not None:
            check_text("The text of a query", self.text)
        if not isinstance(self.text_weight, Real) or isinstance(self.text_weight, bool):
            raise TypeError(f"Query(text_weight={shown(self.text_weight)}): expected a number from 0 to 1.")
        if not 0 <= self.text_weight <= 1:
            raise ValueError(f"Query(text_weight={self.text_weight}): expected a number from 0 to 1.")


def as_query(given: Any) -> Query:
    """
    Make a `Query` of a text, a path or an image.

    Raises:
        TypeError: a value of another type.
    """
    if isinstance(given, Query):
        return given
    if isinstance(given, str):
        return Query(text=given)
    if isinstance(given, Path | Image.Image | bytes):
        return Query(image=given)
    raise TypeError(
        f"Cannot search for {given!r}: expected text, an image (Path or PIL image), a Query, or a list of them."
    )


def query_vectors(model: TBPSModel, processor: TBPSProcessor, queries: Sequence[Query]) -> np.ndarray:
    """
    Encode queries. The inner product of a query's vector with a stored vector is the score.

    Returns:
        The vectors (Q, E) float32.

    Raises:
        ValueError: a text without words.
        BadImageError: an image cannot be read.
    """
    vectors = np.zeros((len(queries), model.config.embedding_dim), np.float32)
    with_text = [i for i, query in enumerate(queries) if query.text is not None]
    with_image = [i for i, query in enumerate(queries) if query.image is not None]
    weights = np.array([[_text_weight(query)] for query in queries], np.float32)  # (Q, 1)
    if with_text:
        texts = [text for query in queries if (text := query.text) is not None]
        vectors[with_text] += weights[with_text] * encode_texts(model, processor, texts, progress=False).numpy()
    if with_image:
        images = [image for query in queries if (image := query.image) is not None]
        encoded = encode_images(model, processor, images, progress=False).numpy()
        vectors[with_image] += (1 - weights[with_image]) * encoded
    return vectors


def _text_weight(query: Query) -> float:
    if query.image is None:
        return 1.0
    return 0.0 if query.text is None else query.text_weight
