"""Pairs, their augmentation and their order: everything a function of (seed, epoch, index)."""

from collections import Counter

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps import TBPSProcessor
from tbps.data.augment import Augmentation
from tbps.data.images import BadImageError
from tbps.data.pairs import PairCollator, PersonPairs
from tbps.data.samplers import IdentitySampler


def test_every_caption_is_a_pair(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    pairs = PersonPairs(rows, tiny_processor)
    assert len(pairs) == 6 * 2 * 2
    assert pairs.num_identities == 6
    assert Counter(pairs.identity_labels.tolist()) == dict.fromkeys(range(6), 4)  # ids 10..15 become 0..5
    item = pairs[5]
    assert item["person_ids"] == 1
    expected = tiny_processor(text=rows[2]["captions"][1], images=rows[2]["image"], return_tensors="pt")
    batch = PairCollator(tiny_processor)([item])
    assert (batch["pixel_values"] - expected["pixel_values"]).abs().max() < 1e-6
    assert item["input_ids"] == expected["input_ids"][0].tolist()


def test_collator_pads_to_the_longest(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    pairs = PersonPairs(rows, tiny_processor)
    chosen = [pairs[0], pairs[1], pairs[7]]
    batch = PairCollator(tiny_processor)(chosen)
    lengths = [len(pair["input_ids"]) for pair in chosen]
    assert len(set(lengths)) > 1
    assert batch["input_ids"].shape == (3, max(lengths))
    assert batch["attention_mask"].sum(dim=1).tolist() == lengths
    assert batch["pixel_values"].shape == (3, 3, 32, 16)
    assert batch["person_ids"].tolist() == [0, 0, 1]


def test_augmentation_depends_on_seed_epoch_and_index_only(
    rows: datasets.Dataset, tiny_processor: TBPSProcessor
) -> None:
    def pixels(seed: int, key: tuple[int, int], cache: bool) -> np.ndarray:
        pairs = PersonPairs(rows, tiny_processor, Augmentation(), seed=seed, cache_images=cache)
        _ = pairs[(7, 3)], pairs[(7, 4)]  # what was loaded before does not matter
        return pairs[key]["pixel_values"]

    reference = pixels(0, (2, 5), cache=False)
    assert np.array_equal(reference, pixels(0, (2, 5), cache=True))
    assert not np.array_equal(reference, pixels(0, (3, 5), cache=True))
    assert not np.array_equal(reference, pixels(1, (2, 5), cache=True))


def test_augmentation_never_touches_what_is_stored(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    pairs = PersonPairs(rows, tiny_processor, Augmentation(erase=1.0, color_jitter=0.5), cache_images=True)
    stored = pairs.pixels(0)
    before, seen = stored.copy(), []
    for epoch in range(5):
        item = pairs[(epoch, 0)]["pixel_values"]
        assert not np.shares_memory(item, stored)
        item[:] = 7  # nor does what is done to an item later
        seen.append(PairCollator(tiny_processor, as_bytes=True)([pairs[(epoch, 0)]])["pixel_values"])
    assert pairs.pixels(0) is stored
    assert np.array_equal(stored, before)
    assert not torch.equal(seen[0], seen[1])
    bare = PersonPairs(rows, tiny_processor, cache_images=True)
    PairCollator(tiny_processor, as_bytes=True)([bare[0]])["pixel_values"].zero_()
    assert np.array_equal(bare.pixels(0), before)


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
def test_crop_after_padding_is_the_crop_of_the_padded_picture(seed: int, height: int, width: int) -> None:
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


def test_unreadable_image_is_named(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    path = rows.cast_column("image", datasets.Image(decode=False))[3]["image"]["path"]
    with open(path, "rb+") as file:
        file.truncate(60)
    pairs = PersonPairs(rows, tiny_processor)
    with pytest.raises(BadImageError, match=path):
        _ = pairs[6]


def test_long_captions_are_cut_and_counted(
    rows: datasets.Dataset, tiny_processor: TBPSProcessor, caplog: pytest.LogCaptureFixture, propagate: None
) -> None:
    long = "a person with a red coat and " + "a bag " * 30

    def lengthen(row: dict) -> dict:
        return {**row, "captions": [long, row["captions"][1]]} if row["person_id"] == 10 else row

    pairs = PersonPairs(rows.map(lengthen), tiny_processor)
    assert "2 of 24 captions are longer than 24 tokens and were truncated" in caplog.text
    assert len(pairs[0]["input_ids"]) == 24
    assert pairs[0]["input_ids"][-1] == tiny_processor.tokenizer.eos_token_id


# -- sampler


@given(
    ids=st.lists(st.integers(0, 9), min_size=1, max_size=60),
    group=st.integers(1, 3),
    epoch=st.integers(0, 5),
)
@settings(deadline=None)
def test_an_epoch_covers_every_pair_once(ids: list[int], group: int, epoch: int) -> None:
    sampler = IdentitySampler(ids, batch_size=group * 4, samples_per_identity=group, seed=1)
    sampler.set_epoch(epoch)
    keys = list(sampler)
    assert {key[0] for key in keys} == {epoch}
    assert sorted(key[1] for key in keys) == list(range(len(ids)))
    assert len(sampler) == len(ids)
    assert list(sampler) == keys


def test_groups_stand_together_and_never_cross_a_batch() -> None:
    ids = np.repeat(np.arange(50), 5)  # five pairs a person: two groups of two and a remainder
    sampler = IdentitySampler(ids, batch_size=10, samples_per_identity=2, seed=3)
    order = [ids[index] for _, index in sampler]
    for start in range(0, 200, 2):
        assert order[start] == order[start + 1]


def test_batches_mix_identities() -> None:
    ids = np.repeat(np.arange(100), 6)
    sampler = IdentitySampler(ids, batch_size=20, seed=0)
    order = [ids[index] for _, index in sampler]
    distinct = [len(set(order[start : start + 20])) for start in range(0, 600, 20)]
    assert np.mean(distinct) > 19  # a random order gives 18.2
    sampler.set_epoch(1)
    assert [ids[index] for _, index in sampler] != order


def test_a_group_that_does_not_fill_the_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="samples_per_identity=3 does not divide the batch size 10"):
        IdentitySampler([1, 2], batch_size=10, samples_per_identity=3)


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


def test_first_epochs_may_be_clean(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    plain = PersonPairs(rows, tiny_processor)[0]
    pairs = PersonPairs(rows, tiny_processor, Augmentation(erase=1.0), word_dropout=0.5, augmentation_warmup_epochs=2)
    for epoch in (0, 1):
        assert np.array_equal(pairs[(epoch, 0)]["pixel_values"], plain["pixel_values"])
        assert pairs[(epoch, 0)]["input_ids"] == plain["input_ids"]
    assert not np.array_equal(pairs[(2, 0)]["pixel_values"], plain["pixel_values"])
    assert pairs[(2, 0)]["input_ids"] != plain["input_ids"]
