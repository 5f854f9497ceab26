"""What a model makes of fixed pictures and sentences, short enough to be stored with a gallery."""

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

NUMBERS = 16  # that are kept of a vector
_SIZES = ((257, 771), (37, 29))  # width, height: odd, large and small, upright and lying
# capitals, accents composed and not, hyphens, digits, marks, other scripts, wide letters, blanks; more than towers read
SENTENCES = (
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
    """The vectors of the fixed pictures and sentences, 16 numbers of each, as text (base64 of float32); empty where the
    tokenizer cannot read such sentences.

    They go the way of every vector of a gallery, so whatever changes vectors changes them. A vector is kept as its
    products with fixed vectors of signs, which keep the distance of two (Johnson and Lindenstrauss).
    """
    with _no_warning_of_cuts(processor):
        try:
            sentences = encode_texts(model, processor, SENTENCES, progress=False)
        except (
            Exception
        ):  # a tokenizer may refuse unknown words, by an exception of any type; its settings are compared
            return ""
    vectors = torch.cat([encode_images(model, processor, _pictures(), progress=False), sentences])
    return base64.b64encode((vectors.numpy() @ _signs(vectors.shape[1])).astype("<f4").tobytes()).decode()


def vectors_of(kept: str) -> np.ndarray:
    """What `probe` returned, as (probes, 16) float32.

    Raises:
        ValueError: it is nothing that `probe` returns.
    """
    return np.frombuffer(base64.b64decode(kept, validate=True), "<f4").reshape(-1, NUMBERS).astype(np.float64)


def distance(first: str, second: str) -> float:
    """The largest distance of two models' vectors of one probe, relative to their length; NaN where a vector is not
    finite, infinite where not as many probes were kept."""
    a, b = vectors_of(first), vectors_of(second)
    if a.shape != b.shape:
        return float("inf")
    lengths = np.maximum(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    with np.errstate(invalid="ignore"):  # infinite less infinite
        return float((np.linalg.norm(a - b, axis=1) / lengths.clip(1e-12)).max(initial=0))


def _signs(width: int) -> np.ndarray:
    """(E, 16) of +-1/4, the same everywhere: the bits of a hash."""
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(b"tbps").digest(width * NUMBERS // 8), np.uint8))
    return (bits.reshape(width, NUMBERS) * 2.0 - 1) / NUMBERS**0.5


def _pictures() -> list[Image.Image]:
    """Waves of another length in each channel, and an edge."""
    pictures = []
    for width, height in _SIZES:
        rows, columns, channels = np.ogrid[:height, :width, :3]
        waves = np.sin(rows / (5 + 2 * channels)) + np.cos(columns / (3 + channels)) + (columns > width // 3)
        pictures.append(Image.fromarray((waves * 60 + 100).clip(0, 255).astype(np.uint8)))
    return pictures


@contextmanager
def _no_warning_of_cuts(processor: TBPSProcessor) -> Iterator[None]:
    """The longest sentence is there to be cut."""
    talking = logging.getLogger(type(processor).__module__)
    before, talking.disabled = talking.disabled, True
    try:
        yield
    finally:
        talking.disabled = before
