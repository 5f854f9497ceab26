"""Pairs: each is a function of (seed, epoch, index), and the collator pads to the longest caption."""

from collections import Counter

import datasets
import numpy as np
import pytest
import torch

from tbps import TBPSProcessor
from tbps.data.augment import Augmentation
from tbps.data.images import BadImageError
from tbps.data.pairs import PairCollator, PersonPairs


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


def test_first_epochs_may_be_clean(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    plain = PersonPairs(rows, tiny_processor)[0]
    pairs = PersonPairs(rows, tiny_processor, Augmentation(erase=1.0), word_dropout=0.5, augmentation_warmup_epochs=2)
    for epoch in (0, 1):
        assert np.array_equal(pairs[(epoch, 0)]["pixel_values"], plain["pixel_values"])
        assert pairs[(epoch, 0)]["input_ids"] == plain["input_ids"]
    assert not np.array_equal(pairs[(2, 0)]["pixel_values"], plain["pixel_values"])
    assert pairs[(2, 0)]["input_ids"] != plain["input_ids"]
