"""Samplers: each epoch covers every pair once, batches mix identities, and length groups need less padding."""

from pathlib import Path

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_arguments import arguments

from tbps import TBPSProcessor, TBPSTrainer
from tbps.data.samplers import IdentitySampler, LengthGroupedSampler


def samplers(ids: np.ndarray, lengths: np.ndarray, batch: int, group: int = 1, window: int = 4):
    order = IdentitySampler(ids, batch, group, seed=2)
    return order, LengthGroupedSampler(order, lengths, ids, batch, window)


def repeats(ids: np.ndarray, keys: list[tuple[int, int]], batch: int) -> list[int]:
    """The most pairs of one person in each batch."""
    pairs = [int(index) for _, index in keys]
    return [
        int(np.bincount(ids[pairs[start : start + batch]]).max()) for start in range(0, len(pairs) - batch + 1, batch)
    ]


@given(
    ids=st.lists(st.integers(0, 9), min_size=1, max_size=80),
    group=st.integers(1, 3),
    window=st.integers(2, 5),
    epoch=st.integers(0, 3),
)
@settings(deadline=None)
def test_every_pair_comes_once_and_identities_are_never_less_spread(
    ids: list[int], group: int, window: int, epoch: int
) -> None:
    people = np.asarray(ids)
    lengths = np.random.default_rng(len(ids)).integers(5, 70, len(ids))
    order, grouped = samplers(people, lengths, batch=group * 4, group=group, window=window)
    grouped.set_epoch(epoch)
    keys, before = list(grouped), list(order)
    assert sorted(keys) == sorted(before)
    assert len(grouped) == len(ids)
    assert list(grouped) == keys
    assert max(repeats(people, keys, group * 4), default=0) <= max([group, *repeats(people, before, group * 4)])


def padding(lengths: np.ndarray, keys: list[tuple[int, int]], batch: int) -> float:
    cut = [lengths[[index for _, index in keys[i : i + batch]]] for i in range(0, len(keys) - batch + 1, batch)]
    return 1 - sum(part.sum() for part in cut) / sum(batch * part.max() for part in cut)


@pytest.mark.parametrize(("group", "left"), [(1, 0.3), (2, 0.6)])  # two captions of a person differ in length
def test_there_is_less_padding_and_people_stay_spread(group: int, left: float) -> None:
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(400), 6)
    lengths = rng.normal(25, 10, len(ids)).clip(5, 75).round().astype(int)
    order, grouped = samplers(ids, lengths, batch=32, group=group, window=8)
    keys = list(grouped)
    assert padding(lengths, keys, 32) < left * padding(lengths, list(order), 32)
    assert max(repeats(ids, keys, 32)) <= group
    pairs = [index for _, index in keys]
    for start in range(0, len(pairs) - group, group):
        assert len(set(ids[pairs[start : start + group]].tolist())) == 1  # groups stay together
    longest = [lengths[pairs[start : start + 32]].max() for start in range(0, 256, 32)]
    assert longest != sorted(longest)  # a window's batches come in random order
    grouped.set_epoch(1)
    assert list(grouped) != keys


def test_a_window_moves_no_pair_out_of_it() -> None:
    ids = np.repeat(np.arange(100), 4)
    lengths = np.random.default_rng(1).integers(5, 70, 400)
    order, grouped = samplers(ids, lengths, batch=10, window=3)
    before, after = list(order), list(grouped)
    assert before != after
    for start in range(0, 400, 30):
        assert sorted(before[start : start + 30]) == sorted(after[start : start + 30])


def test_a_window_that_cannot_be_cut_does_not_change() -> None:
    ids = np.repeat(np.arange(2), 12)  # two people cannot fill a batch of four without repeats
    order, grouped = samplers(ids, np.arange(24), batch=4)
    assert list(grouped) == list(order)


def test_the_trainer_uses_the_window(
    tmp_path: Path,
    model_factory,
    rows: datasets.Dataset,
    tiny_processor: TBPSProcessor,
) -> None:
    args = arguments(tmp_path, length_group_window=3, per_device_train_batch_size=4, save_strategy="no")
    trainer = TBPSTrainer(model_factory(), args, rows, processing_class=tiny_processor)
    sampler = trainer._get_train_sampler()
    assert isinstance(sampler, LengthGroupedSampler)
    assert sampler.lengths[0] == len(tiny_processor.tokenizer(rows[0]["captions"][0])["input_ids"])
    trainer.train()
    assert trainer.state.global_step == 12
    with pytest.raises(ValueError, match=r"length_group_window must be 0 \(off\) or at least 2 batches, got 1"):
        samplers(np.arange(8), np.arange(8), batch=4, window=1)


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


def test_groups_are_consecutive_and_never_cross_a_batch() -> None:
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


def test_a_group_size_that_does_not_divide_the_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="samples_per_identity=3 does not divide the batch size 10"):
        IdentitySampler([1, 2], batch_size=10, samples_per_identity=3)
