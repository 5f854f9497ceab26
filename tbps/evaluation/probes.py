"""Vectors of fixed images and texts, short enough to be stored with a gallery, by which models are compared."""

import base64
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image

from tbps.evaluation.encoding import encode_images, encode_texts
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor

NUMBERS = 16  # kept of each vector
_SIZES = ((257, 771), (37, 29))  # width, height: odd, large and small, upright and lying
# capitals, composed and combining accents, hyphens, digits, marks, other scripts, wide letters, spaces; too long texts
TEXTS = (
    "a bag",
    "A Woman in a RED coat, with a black back-pack and light-blue jeans.",
    "Ein Mann trägt eine grüne Jacke; façade, naïve café, ŁÓDŹ, nai\u0308ve cafe\u0301, Straße, İstanbul",
    'don\'t: 3 bags & 12345 (two) at £5.50 -- "it’s" <b>tall</b> #1 @home 50% a_b c/d e\\f ...',
    "穿红色外套的女人背着黑色背包。 赤いコートの女性 빨간 코트를 입은 여자",
    "женщина в красном пальто, γυναίκα με κόκκινο παλτό, امرأة ترتدي معطفا أحمر",
    "ＲＥＤ ﬁne ① Ⅳ x² \u200b\u00ad\ufeff🧥  two  spaces\tand\na\u00a0line ",
    " ".join(f"word{number} of a man who wears number {number}" for number in range(80)),
)


def probe(model: TBPSModel, processor: TBPSProcessor) -> str:
    """Encode the fixed images and texts, and return 16 numbers of each as base64 of float32.

    The result is empty if the tokenizer cannot read these texts. The vectors are encoded like those of a gallery, so
    whatever changes a gallery's vectors changes them. Each is reduced to its products with fixed vectors of signs,
    which preserve the distance between two vectors (Johnson and Lindenstrauss).
    """
    with _no_warning_of_cuts(processor):
        try:
            texts = encode_texts(model, processor, TEXTS, progress=False)
        except Exception:  # a tokenizer may refuse unknown words by any exception; its settings are compared anyway
            return ""
    vectors = torch.cat([encode_images(model, processor, _images(), progress=False), texts])
    return base64.b64encode((vectors.numpy() @ _signs(vectors.shape[1])).astype("<f4").tobytes()).decode()


def vectors_of(kept: str) -> np.ndarray:
    """Decode the result of `probe`: (probes, 16).

    Raises:
        ValueError: `probe` cannot have returned this.
    """
    return np.frombuffer(base64.b64decode(kept, validate=True), "<f4").reshape(-1, NUMBERS).astype(np.float64)


def distance(first: str, second: str) -> float:
    """The largest distance between two models' vectors of a probe, relative to their length.

    NaN if a vector is not finite, and infinite if the numbers of probes differ.
    """
    a, b = vectors_of(first), vectors_of(second)
    if a.shape != b.shape:
        return float("inf")
    lengths = np.maximum(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        return float((np.linalg.norm(a - b, axis=1) / lengths.clip(1e-12)).max(initial=0))


def _signs(width: int) -> np.ndarray:
    """Fixed signs (E, 16), each +-1/4, from the bits of a hash."""
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(b"tbps").digest(width * NUMBERS // 8), np.uint8))
    return (bits.reshape(width, NUMBERS) * 2.0 - 1) / NUMBERS**0.5


def _images() -> list[Image.Image]:
    """Images with an edge, and waves of a different length in each channel."""
    images = []
    for width, height in _SIZES:
        rows, columns, channels = np.ogrid[:height, :width, :3]
        waves = np.sin(rows / (5 + 2 * channels)) + np.cos(columns / (3 + channels)) + (columns > width // 3)
        images.append(Image.fromarray((waves * 60 + 100).clip(0, 255).astype(np.uint8)))
    return images


@contextmanager
def _no_warning_of_cuts(processor: TBPSProcessor) -> Iterator[None]:
    """Silence the warning that the longest text is cut, which is intended."""
    talking = logging.getLogger(type(processor).__module__)
    before, talking.disabled = talking.disabled, True
    try:
        yield
    finally:
        talking.disabled = before
