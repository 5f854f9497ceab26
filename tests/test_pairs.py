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
from tbps.data.sampler import IdentitySampler


def test_every_caption_is_a_pair(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    pairs = PersonPairs(rows, tiny_processor)
    assert len(pairs) == 6 * 2 * 2
    assert pairs.num_identities == 6
    assert Counter(pairs.person_ids.tolist()) == dict.fromkeys(range(6), 4)  # ids 10..15 become 0..5
    item = pairs[5]
    assert item["person_ids"] == 1
    expected = tiny_processor(text=rows[2]["captions"][1], images=rows[2]["image"], return_tensors="pt")
    assert torch.equal(item["pixel_values"], expected["pixel_values"][0])
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
    def pixels(seed: int, key: tuple[int, int], cache: bool) -> torch.Tensor:
        pairs = PersonPairs(rows, tiny_processor, Augmentation(), seed=seed, cache_images=cache)
        _ = pairs[(7, 3)], pairs[(7, 4)]  # what was loaded before does not matter
        return pairs[key]["pixel_values"]

    reference = pixels(0, (2, 5), cache=False)
    assert torch.equal(reference, pixels(0, (2, 5), cache=True))
    assert not torch.equal(reference, pixels(0, (3, 5), cache=True))
    assert not torch.equal(reference, pixels(1, (2, 5), cache=True))


def test_augmentation_never_touches_what_is_stored(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    pairs = PersonPairs(rows, tiny_processor, Augmentation(), cache_images=True)
    before = pairs.pixels(0).clone()
    for epoch in range(5):
        _ = pairs[(epoch, 0)]
    assert torch.equal(pairs.pixels(0), before)


@given(seed=st.integers(0, 10_000), height=st.integers(2, 40), width=st.integers(2, 40))
@settings(deadline=None, max_examples=50)
def test_augmentation_keeps_shape_and_range(seed: int, height: int, width: int) -> None:
    pixels = torch.rand(3, height, width)
    out = Augmentation(erase=1.0, padding=0.2)(pixels, np.random.default_rng(seed))
    assert out.shape == pixels.shape
    assert out.min() >= 0
    assert out.max() <= 1


def test_augmentation_switched_off_is_the_identity() -> None:
    pixels = torch.rand(3, 12, 6)
    assert torch.equal(Augmentation(flip=0, padding=0, erase=0)(pixels, np.random.default_rng(0)), pixels)
    flipped = Augmentation(flip=1, padding=0, erase=0)(pixels, np.random.default_rng(0))
    assert torch.equal(flipped, pixels.flip(-1))


def test_erased_share_is_within_bounds() -> None:
    shares = []
    for seed in range(200):
        out = Augmentation(flip=0, padding=0, erase=1)(torch.ones(3, 60, 60), np.random.default_rng(seed))
        shares.append(float((out[0] == 0).float().mean()))
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
    assert "2 of 24 captions are longer than 24 tokens and were cut" in caplog.text
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
    assert pairs.input_ids == whole.input_ids  # what is stored stays as it is


def test_first_epochs_may_be_clean(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    plain = PersonPairs(rows, tiny_processor)[0]
    pairs = PersonPairs(rows, tiny_processor, Augmentation(erase=1.0), word_dropout=0.5, clean_epochs=2)
    for epoch in (0, 1):
        assert torch.equal(pairs[(epoch, 0)]["pixel_values"], plain["pixel_values"])
        assert pairs[(epoch, 0)]["input_ids"] == plain["input_ids"]
    assert not torch.equal(pairs[(2, 0)]["pixel_values"], plain["pixel_values"])
    assert pairs[(2, 0)]["input_ids"] != plain["input_ids"]
