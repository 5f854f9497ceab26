"""The threshold below which nobody fits."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_rows

from tbps import TBPSModel, TBPSProcessor
from tbps.evaluation.fingerprint import identify
from tbps.evaluation.retrieval import SplitVectors, embed_split
from tbps.gallery.calibration import Calibration, calibrate


def spread_people(people, seed, images=2, dim=32):
    """Vectors of people whose captions lie near their images, as far as noise lets them."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.standard_normal((people, dim)), images, axis=0)
    texts, pictures = (centres + rng.standard_normal(centres.shape) for _ in range(2))
    unit = [torch.from_numpy(v / np.linalg.norm(v, axis=1, keepdims=True)).float() for v in (texts, pictures)]
    ids = torch.arange(people).repeat_interleave(images)
    return SplitVectors(*unit, ids, ids)


def calibrated(monkeypatch, vectors, rate, model, processor):
    monkeypatch.setattr("tbps.gallery.calibration.embed_split", lambda *arguments, **options: vectors)
    return calibrate(model, processor, None, rate)


def false_accepts(vectors, threshold):
    """The slow way, one question after the other, with the person searched for removed."""
    accepted = 0
    for text, person in zip(vectors.texts, vectors.query_person_ids, strict=True):
        accepted += bool((vectors.images[vectors.gallery_person_ids != person] @ text).max() >= threshold)
    return accepted / len(vectors.texts)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_holds_on_people_it_has_not_seen(monkeypatch, tiny_model, tiny_processor, rate):
    found = calibrated(monkeypatch, spread_people(400, seed=0), rate, tiny_model, tiny_processor)
    assert found.gallery_size == 800
    others = spread_people(400, seed=1)
    assert false_accepts(others, found.threshold(800)) == pytest.approx(rate, abs=rate / 2)


def test_grows_with_the_gallery_as_the_best_of_more_scores_does(monkeypatch, tiny_model, tiny_processor):
    found = calibrated(monkeypatch, spread_people(300, seed=0), 0.1, tiny_model, tiny_processor)
    assert found.growth > 0
    many = spread_people(2400, seed=2)
    few = [len(many.texts) // 8, 8]
    asked = SplitVectors(many.texts[: few[0]], many.images, many.query_person_ids[: few[0]], many.gallery_person_ids)
    grown, fixed = (false_accepts(asked, found.threshold(count)) for count in (4800, 600))
    assert fixed > 0.25, "the threshold of the small gallery lets too many through"
    assert grown == pytest.approx(0.1, abs=0.07)


def test_the_accept_rate_is_that_of_a_count(monkeypatch, tiny_model, tiny_processor):
    vectors = spread_people(100, seed=0)
    found = calibrated(monkeypatch, vectors, 0.1, tiny_model, tiny_processor)
    scores = vectors.texts @ vectors.images.T
    best = scores.argmax(dim=1)
    right = (vectors.gallery_person_ids[best] == vectors.query_person_ids) & (scores.amax(dim=1) >= found.score)
    assert found.accept_rate == pytest.approx(right.float().mean().item())
    assert found.captions == 200


def test_runs_on_a_split_and_comes_back_from_its_file(tmp_path, tiny_model, tiny_processor):
    rows = make_rows(tmp_path / "images", people=20)
    found = calibrate(tiny_model, tiny_processor, rows, 0.1, progress=False)
    vectors = embed_split(tiny_model, tiny_processor, rows, progress=False)
    assert false_accepts(vectors, found.score) <= 0.15
    found.save(tmp_path / "calibration.json")
    fingerprint = identify(tiny_model, tiny_processor).fingerprint
    assert Calibration.load(tmp_path / "calibration.json", fingerprint) == found
    with pytest.raises(ValueError, match="measured with another model"):
        Calibration.load(tmp_path / "calibration.json", "f" * 32)
    (tmp_path / "calibration.json").write_text("[]")
    with pytest.raises(ValueError, match="is not a calibration"):
        Calibration.load(tmp_path / "calibration.json")


def test_refuses_what_cannot_be_learnt_from(tiny_model, tiny_processor, rows):
    with pytest.raises(ValueError, match="6 people: expected at least 20"):
        calibrate(tiny_model, tiny_processor, rows, progress=False)
    with pytest.raises(ValueError, match="false_accept_rate=1"):
        calibrate(tiny_model, tiny_processor, rows, 1)


def test_a_split_without_people_to_learn_from_is_named(
    rows: datasets.Dataset, tiny_model: TBPSModel, tiny_processor: TBPSProcessor
) -> None:
    for some in (rows.select([]), rows.select(range(4))):
        with pytest.raises(ValueError, match=r"split has \d people: expected at least 20"):
            calibrate(tiny_model, tiny_processor, some, progress=False)


GOOD = Calibration("f" * 64, 0.05, 100, 0.5, 0.01, 0.4, 0.9, 50)


@pytest.mark.parametrize("change", [
    {"score": "0.5"}, {"score": None}, {"score": float("nan")}, {"growth": float("inf")}, {"gallery_size": 0},
    {"gallery_size": -3}, {"gallery_size": 2.5}, {"captions": True}, {"fingerprint": 3}, {"false_accept_rate": 2.0},
    {"accept_rate": -0.1}, {"same_person": [1]}, {"more": 1}, {"score": 10**400},
])  # fmt: skip
def test_a_calibration_with_a_wrong_value_is_named(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    GOOD.save(path)
    assert Calibration.load(path) == GOOD
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=r"calibration\.json is not a calibration"):
        Calibration.load(path)


@given(place=st.integers(0, 300), flip=st.integers(1, 255))
@settings(deadline=None, max_examples=60)
def test_any_damage_of_a_calibration_is_named_or_leaves_a_threshold(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "calibration.json"
    GOOD.save(path)
    whole = path.read_bytes()
    place %= len(whole)
    nested = b"[" * 100_000
    for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :], nested):
        path.write_bytes(damaged)
        with suppress(ValueError):  # which names the file, as above
            assert np.isfinite(Calibration.load(path).threshold(1000))
