"""Noisy pairs: the loss of a pair, trust in it, and training on captions of other images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from training_arguments import StopAfterEpoch, arguments, two_populations

from tbps import TBPSModel, TBPSProcessor, TBPSTrainer
from tbps.training import mixture
from tbps.training.noisy_pairs import NoisyPairs, pair_losses, suspects

Factory = Callable[..., TBPSModel]


def test_loss_of_a_pair_by_hand() -> None:
    similarity = torch.tensor([[0.5, 0.9, 0.1], [0.2, 0.5, 0.3], [0.0, 0.4, 0.5]])
    found = pair_losses(similarity, torch.tensor([7, 7, 9]), scale=10.0)
    # pair 0: image and text 1 are its own person's and do not count; left are those of person 9
    assert float(found[0]) == pytest.approx(10 * ((0.1 + 0.0) / 2 - 0.5), rel=1e-5)
    # pair 2 has two others
    text, image = np.logaddexp(0.0, 4.0), np.logaddexp(1.0, 3.0)
    assert float(found[2]) == pytest.approx((text + image) / 2 - 5.0, rel=1e-5)


class Epoch:
    """The state that a callback gets."""

    def __init__(self, epoch: float) -> None:
        self.epoch, self.stateful_callbacks, self.num_train_epochs = epoch, {}, 3


def observed(noisy: NoisyPairs, losses: np.ndarray) -> None:
    noisy.losses = torch.from_numpy(losses).float()


def test_division_waits_for_the_warmup_and_is_made_once_an_epoch() -> None:
    noisy = NoisyPairs(100, "filter", warmup=2)
    observed(noisy, two_populations(80, 20))
    noisy.on_epoch_begin(None, Epoch(1.0), None)
    assert noisy.suspected.sum() == 0
    noisy.on_epoch_begin(None, Epoch(2.0), None)
    assert set(np.flatnonzero(noisy.suspected)) == set(range(80, 100))
    assert noisy.weights.tolist() == [1.0] * 80 + [0.0] * 20
    observed(noisy, two_populations(80, 20)[::-1].copy())
    noisy.on_epoch_begin(None, Epoch(2.5), None)  # a resumed run enters its epoch again
    assert set(np.flatnonzero(noisy.suspected)) == set(range(80, 100))
    noisy.on_epoch_begin(None, Epoch(3.0), None)
    assert set(np.flatnonzero(noisy.suspected)) == set(range(20))


def test_pairs_that_were_in_no_batch_are_trusted() -> None:
    noisy = NoisyPairs(102)
    observed(noisy, np.concatenate([two_populations(80, 20), [np.nan, np.nan]]))
    noisy.on_epoch_begin(None, Epoch(1.0), None)
    assert noisy.weights[100:].tolist() == [1.0, 1.0]
    assert noisy.suspected.sum() == 20


def test_weighing_trusts_by_the_posterior() -> None:
    noisy = NoisyPairs(100, "weight")
    observed(noisy, two_populations(80, 20))
    noisy.on_epoch_begin(None, Epoch(1.0), None)
    assert torch.equal(noisy.weights, noisy.posterior)
    assert ((noisy.weights > 0) & (noisy.weights < 1)).any()


def test_the_state_comes_back_exactly() -> None:
    noisy, other = NoisyPairs(100), NoisyPairs(100)
    observed(noisy, np.concatenate([two_populations(79, 20), [np.nan]]))
    noisy.on_epoch_begin(None, Epoch(1.0), None)
    told = Epoch(1.5)
    told.stateful_callbacks = {"NoisyPairs": noisy.state()}
    other.on_train_begin(None, told, None)
    assert torch.equal(other.losses.nan_to_num(-1), noisy.losses.nan_to_num(-1))
    assert torch.equal(other.posterior, noisy.posterior)
    assert other.epoch == 1
    with pytest.raises(ValueError, match="has 100 training pairs, the training set has 7"):
        NoisyPairs(7).on_train_begin(None, told, None)


def test_a_warmup_without_end_is_warned_of(
    tmp_path: Path,
    model_factory: Factory,
    rows: datasets.Dataset,
    tiny_processor: TBPSProcessor,
    propagate: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    args = arguments(tmp_path, noisy_pairs="filter", noisy_pairs_warmup=2)
    trainer = TBPSTrainer(model_factory(), args, rows, processing_class=tiny_processor)
    trainer.train()
    assert "noisy_pairs_warmup=2 in a training of 2 epochs" in caplog.text


def test_an_unknown_way_is_named(tmp_path: Path, model_factory: Factory, rows: Any, tiny_processor: Any) -> None:
    with pytest.raises(ValueError, match=r"noisy_pairs='drop': expected one of 'ignore', 'weight', 'filter'"):
        TBPSTrainer(model_factory(), arguments(tmp_path, noisy_pairs="drop"), rows, processing_class=tiny_processor)


def test_training_goes_by_the_trust_and_notes_every_loss(
    tmp_path: Path, model_factory: Factory, rows: datasets.Dataset, tiny_processor: TBPSProcessor
) -> None:
    model = model_factory(num_identities=6).train()
    trainer = TBPSTrainer(model, arguments(tmp_path, noisy_pairs="filter"), rows, processing_class=tiny_processor)
    noisy = trainer.noisy_pairs
    assert noisy is not None
    collated = trainer.data_collator([trainer.train_dataset[i] for i in (3, 8, 15, 22)])
    pixels = trainer.train_dataset.preparation.normalize(collated["pixel_values"])
    batch = {**collated, "pixel_values": pixels}
    noisy.posterior[15] = 0.2
    with torch.no_grad():
        loss = trainer.compute_loss(model, dict(collated))
        output = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")})
        trust = torch.tensor([1.0, 1.0, 0.0, 1.0])
        expected = model.total_loss(model.compute_losses(output, batch["person_ids"], trust))
        everyone = model.total_loss(model.compute_losses(output, batch["person_ids"]))
    assert isinstance(loss, torch.Tensor)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    assert float(loss) != pytest.approx(float(everyone), rel=1e-3)
    noted = pair_losses(output.text_embeds @ output.image_embeds.T, batch["person_ids"])
    assert torch.allclose(noisy.losses[[3, 8, 15, 22]], noted, atol=1e-4)
    assert noisy.losses.isfinite().sum() == 4


def test_suspects_are_counted_in_the_log_and_named(
    tmp_path: Path,
    model_factory: Factory,
    rows: datasets.Dataset,
    tiny_processor: TBPSProcessor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mixture, "SEPARATED", 0.0)  # tiny data has no two populations
    args = arguments(tmp_path, save_strategy="no", noisy_pairs="filter")
    trainer = TBPSTrainer(model_factory(), args, rows, processing_class=tiny_processor)
    trainer.train()
    assert trainer.noisy_pairs is not None
    counts = [entry["suspected_pairs"] for entry in trainer.state.log_history if "loss" in entry]
    assert counts == [0] * 3 + [int(trainer.noisy_pairs.suspected.sum())] * 3
    found = suspects(rows, trainer.noisy_pairs)
    assert len(found) == counts[-1] > 0
    assert [entry["posterior"] for entry in found] == sorted(entry["posterior"] for entry in found)
    for entry in found:
        row = rows["file_path"].index(entry["file_path"])
        assert entry["caption"] in rows["captions"][row]
        assert entry["person_id"] == rows["person_id"][row]


@pytest.mark.parametrize("step", [4, 6])  # within the second epoch, and at its end
def test_a_resumed_run_trusts_as_an_uninterrupted_one(
    tmp_path: Path,
    model_factory: Factory,
    rows: datasets.Dataset,
    tiny_processor: TBPSProcessor,
    step: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mixture, "SEPARATED", 0.0)  # tiny data has no two populations

    def trainer(folder: str, **kwargs: Any) -> TBPSTrainer:
        args = arguments(
            tmp_path / folder, num_train_epochs=4, noisy_pairs="weight", save_strategy="steps", save_steps=step
        )
        return TBPSTrainer(model_factory(num_identities=6), args, rows, processing_class=tiny_processor, **kwargs)

    whole = trainer("whole")
    whole.train()
    trainer("cut", callbacks=[StopAfterEpoch]).train()
    resumed = trainer("cut")
    resumed.train(resume_from_checkpoint=str(tmp_path / "cut" / f"checkpoint-{step}"))
    assert whole.noisy_pairs is not None
    assert resumed.noisy_pairs is not None
    assert whole.noisy_pairs.suspected.any()
    assert torch.equal(resumed.noisy_pairs.posterior, whole.noisy_pairs.posterior)
    assert torch.equal(resumed.noisy_pairs.losses, whole.noisy_pairs.losses)
    expected = whole.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.model.state_dict().items())
