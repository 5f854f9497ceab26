"""The threshold below which nobody fits."""

import numpy as np
import pytest
import torch
from conftest import make_rows

from tbps.evaluation import SplitVectors, embed_split
from tbps.fingerprint import identify
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
    for text, person in zip(vectors.texts, vectors.query_ids, strict=True):
        accepted += bool((vectors.images[vectors.gallery_ids != person] @ text).max() >= threshold)
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
    asked = SplitVectors(many.texts[: few[0]], many.images, many.query_ids[: few[0]], many.gallery_ids)
    grown, fixed = (false_accepts(asked, found.threshold(count)) for count in (4800, 600))
    assert fixed > 0.25, "the threshold of the small gallery lets too many through"
    assert grown == pytest.approx(0.1, abs=0.07)


def test_the_accept_rate_is_that_of_a_count(monkeypatch, tiny_model, tiny_processor):
    vectors = spread_people(100, seed=0)
    found = calibrated(monkeypatch, vectors, 0.1, tiny_model, tiny_processor)
    scores = vectors.texts @ vectors.images.T
    best = scores.argmax(dim=1)
    right = (vectors.gallery_ids[best] == vectors.query_ids) & (scores.amax(dim=1) >= found.score)
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
    with pytest.raises(ValueError, match="is no calibration"):
        Calibration.load(tmp_path / "calibration.json")


def test_refuses_what_cannot_be_learnt_from(tiny_model, tiny_processor, rows):
    with pytest.raises(ValueError, match="6 people: expected at least 20"):
        calibrate(tiny_model, tiny_processor, rows, progress=False)
    with pytest.raises(ValueError, match="false_accept_rate=1"):
        calibrate(tiny_model, tiny_processor, rows, 1)
