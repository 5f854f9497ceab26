"""Image augmentation and word dropout: pure functions of a random generator."""

import datasets
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps import TBPSProcessor
from tbps.data.augment import Augmentation
from tbps.data.pairs import PersonPairs


@given(seed=st.integers(0, 10_000), height=st.integers(2, 40), width=st.integers(2, 40))
@settings(deadline=None, max_examples=50)
def test_augmentation_keeps_shape_and_range(seed: int, height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(1, 200, (height, width, 3), dtype=np.uint8)
    before = pixels.copy()
    out = Augmentation(erase=1.0, padding=0.2, color_jitter=0.3)(
        pixels, np.random.default_rng(seed), np.zeros_like(pixels)
    )
    assert (out.shape, out.dtype) == (pixels.shape, np.uint8)
    assert np.array_equal(pixels, before)


@given(seed=st.integers(0, 10_000), height=st.integers(2, 30), width=st.integers(2, 30))
@settings(deadline=None, max_examples=50)
def test_crop_after_padding_is_a_crop_of_the_padded_image(seed: int, height: int, width: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    blank = np.full_like(pixels, 77)
    out = Augmentation(flip=0, padding=0.4, erase=0)(pixels, np.random.default_rng(seed), blank)
    border = round(0.4 * height)
    padded = np.pad(pixels, [(border, border), (border, border), (0, 0)], constant_values=77)
    crops = (padded[i : i + height, j : j + width] for i in range(2 * border + 1) for j in range(2 * border + 1))
    assert any(np.array_equal(out, crop) for crop in crops)


def test_augmentation_switched_off_is_the_identity() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (12, 6, 3), dtype=np.uint8)
    blank, rng = np.zeros_like(pixels), np.random.default_rng(0)
    assert np.array_equal(Augmentation(flip=0, padding=0, erase=0)(pixels, rng, blank), pixels)
    flipped = Augmentation(flip=1, padding=0, erase=0)(pixels, rng, blank)
    assert np.array_equal(flipped, pixels[:, ::-1])


def test_erased_share_is_within_bounds() -> None:
    shares = []
    for seed in range(200):
        white = np.full((60, 60, 3), 255, dtype=np.uint8)
        out = Augmentation(flip=0, padding=0, erase=1)(white, np.random.default_rng(seed), np.zeros_like(white))
        shares.append(float((out == 0).mean()))
    assert min(shares) > 0.01
    assert max(shares) < 0.42


def test_word_dropout_keeps_begin_end_and_order(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    whole = PersonPairs(rows, tiny_processor)
    pairs = PersonPairs(rows, tiny_processor, word_dropout=0.5)
    lengths = []
    for epoch in range(50):
        kept, ids = pairs[(epoch, 0)]["input_ids"], whole[0]["input_ids"]
        assert (kept[0], kept[-1]) == (ids[0], ids[-1])
        remaining = iter(ids)
        assert all(token in remaining for token in kept)  # a subsequence
        lengths.append(len(kept) - 2)
    assert 0.35 < np.mean(lengths) / (len(ids) - 2) < 0.65
    assert pairs[(3, 0)]["input_ids"] == pairs[(3, 0)]["input_ids"]
    assert list(pairs.input_ids) == list(whole.input_ids)  # what is stored stays as it is
