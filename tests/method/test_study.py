"""The study of the method: its measures on parts whose answers are known, its statistics, and one whole run."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from perfect_parts import K, perfect_parts
from PIL import Image
from run_results import write_run
from tiny import make_rows

from benchmarks.method import run as run_module
from benchmarks.method.by_item import by_item
from benchmarks.method.collect import against, by_seed, collect, metric, tuning
from benchmarks.method.commonality import ESTIMATES, register_estimates
from benchmarks.method.likeness import commonality_correlation, false_negative_auc, sampled_share_correlation
from benchmarks.method.localisation import areas, assign, inside, localisation, pointing
from benchmarks.method.methods import ABLATED, ABLATIONS, METHODS, ORACLE_SOURCE, TOWERS
from benchmarks.method.oracle import REPLACED, codes, known_parts, oracle_commonality
from benchmarks.method.parts import Parts
from benchmarks.method.plan import Planned, choices, is_tuned, main_runs, run_file, settings_of, tuning_file
from benchmarks.method.regions import BODY, value
from benchmarks.method.report import tables
from benchmarks.method.retrieval_tables import retrieval_table, weight_table
from benchmarks.method.run import Regime, is_done, run
from benchmarks.method.start import WEIGHTS, make_start
from benchmarks.method.statistics import paired, spread
from benchmarks.method.truth_tables import item_table
from benchmarks.method.worlds import first_people, splits, with_noise, world
from tbps import TBPSConfig
from tbps.commonality_tbps import COMMONALITY, AnchorRows


@pytest.fixture(autouse=True)
def estimates() -> None:
    """Register the estimates of the study, as each run does."""
    register_estimates()


@pytest.fixture(scope="module")
def perfect() -> Parts:
    return perfect_parts()


def test_perfect_parts_get_full_marks(perfect: Parts) -> None:
    assignment = assign(perfect)
    assert assignment == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}
    for found in localisation(perfect, assignment).values():
        assert found["inside"] == pytest.approx(1)
        assert found["pointing"] == 1
        assert found["agreement"] == 1
        assert found["covered"]
        assert found["pointing_constant"] < 0.9  # the regions move
        assert found["inside_chance"] == pytest.approx(4 / 72)


def test_parts_assigned_to_the_wrong_region_get_none(perfect: Parts) -> None:
    found = localisation(perfect, {0: 1, 1: 0, 2: 5, 3: 3, 4: 4})
    assert [found[name]["pointing"] for name in ("head", "upper", "lower", "shoes")] == [0, 0, 0, 1]
    assert found["head"]["agreement"] == 0
    assert not found["upper"]["covered"]


def test_of_parts_that_look_alike_the_one_that_reads_is_assigned(perfect: Parts) -> None:
    attention, reading = perfect.image_attention.clone(), perfect.text_reading.copy()
    attention[:, 5] = attention[:, 0]
    reading[:, [0, 5], 0] = reading[:, [5, 0], 0]
    twins = Parts(**{**vars(perfect), "image_attention": attention, "text_reading": reading})
    assert assign(twins) == {0: 5, 1: 1, 2: 2, 3: 3, 4: 4}
    assert localisation(twins, {**assign(twins), 0: 0})["head"]["agreement"] == 0


def test_an_item_that_another_regions_part_knows_shows(perfect: Parts) -> None:
    assignment = {region: region for region in range(5)}
    assert all(found["pointing"] == 1 for items in by_item(perfect, assignment).values() for found in items.values())
    carried = np.array([person.bag for person in perfect.people])
    attention, reading = perfect.image_attention.clone(), perfect.text_reading.copy()
    attention[carried == "backpack", 4] = attention[carried == "backpack", 1]
    reading[carried == "backpack", :, 4] = np.eye(K)[1]
    found = by_item(replace(perfect, image_attention=attention, text_reading=reading), assignment)
    assert set(found) == {1, 2, 3, 4}  # a head has hat and hair, no single item
    assert set(found[4]) == set(carried) - {"none"}
    for item, of_item in found[4].items():
        count = int((carried == item).sum())
        readers = np.eye(K)[1 if item == "backpack" else 4].tolist()
        expected = {"images": count, "pointing": float(item != "backpack"), "captions": count, "readers": readers}
        assert of_item == expected
    regions = {BODY[r].name.lower(): {"part": r, "by_item": found.get(r, {})} for r in range(5)}
    rows = item_table({1: {"truth": regions}, 2: {"truth": {"bag": {"part": 4}}}})
    assert "| backpack | bag | 0.00 | 0.00 | 1.00 | 0.00 | 0.00 | 0.00 | 0.00 |" in rows
    assert "| handbag | bag | 1.00 | 0.00 | 0.00 | 0.00 | 0.00 | 1.00 | 0.00 |" in rows


def test_uniform_attention_is_at_chance(perfect: Parts) -> None:
    uniform = Parts(**{**vars(perfect), "image_attention": torch.full((120, K, 12, 6), 1 / 72)})
    share, constant = inside(uniform)
    assert np.allclose(share, areas(uniform)[None, :])
    assert (constant > areas(uniform)).all()
    hits, best = pointing(uniform)
    assert (hits <= best[None, :] + 1e-9).all()  # an attention that never moves cannot beat the best fixed pixel


def test_commonality_of_perfect_parts_follows_the_true_shares(perfect: Parts) -> None:
    assignment = {region: region for region in range(5)}
    for estimate in set(ESTIMATES) - {"mean_similarity"}:
        found = commonality_correlation(perfect, assignment, estimate)
        assert min(found.values()) > 0.9, estimate
    constant = commonality_correlation(perfect, {0: 5}, "soft_rank")
    assert constant == {0: 0.0}


def test_in_a_small_group_even_perfect_parts_only_sample_the_true_shares(perfect: Parts) -> None:
    everyone = len(perfect.people) // 3
    assert sampled_share_correlation(perfect, everyone) == dict.fromkeys(range(5), pytest.approx(1))
    few = sampled_share_correlation(perfect, 8)
    assert 0 < max(few.values()) < 0.9
    found = commonality_correlation(perfect, {region: region for region in range(5)}, "resembling", 8)
    assert all(found[region] < few[region] + 0.05 for region in few)


def test_false_negatives_of_perfect_parts_are_told_apart(perfect: Parts) -> None:
    found = false_negative_auc(perfect, {region: region for region in range(5)})
    assert min(found.values()) == pytest.approx(1)
    assert false_negative_auc(perfect, {0: 5})[0] == pytest.approx(0.5)  # one vector for everybody


def test_spread_and_paired_differences_by_hand() -> None:
    found = spread([1.0, 2.0, 3.0])
    assert (found.mean, found.deviation) == (2.0, 1.0)
    assert found.half_interval == pytest.approx(4.3027 / 3**0.5, abs=1e-4)  # Student's t, 2 degrees of freedom
    difference = paired({1: 5.0, 2: 7.0, 3: 1.0}, {1: 4.0, 2: 5.0})
    assert difference is not None
    assert (difference.mean, difference.count) == (1.5, 2)
    assert paired({1: 5.0}, {2: 4.0}) is None


def test_whole_vector_of_a_method_without_parts_is_its_global_embedding() -> None:
    plain = {1: {"test": {"global": {"rank_1": 0.5}}}}
    with_parts = {1: {"test": {"global": {"rank_1": 0.4}, "parts": {"rank_1": 0.3}, "whole": {"rank_1": 0.6}}}}
    assert metric(plain, "whole", "rank_1") == {1: 50}
    assert metric(plain, "parts", "rank_1") == {}
    found = against({"ours": with_parts, "tal": plain}, "ours", "tal", "whole", "rank_1")
    assert found is not None
    assert found.mean == pytest.approx(10)
    found = against({"ours": with_parts, "tal": plain}, "ours", "tal", "parts", "rank_1")
    assert found is not None
    assert found.mean == pytest.approx(-20)


def test_two_methods_with_parts_are_compared_by_the_same_way() -> None:
    ours = {"global": {"rank_1": 0.4}, "parts": {"rank_1": 0.3}, "whole": {"rank_1": 0.6}}
    theirs = {"global": {"rank_1": 0.3}, "parts": {"rank_1": 0.1}, "whole": {"rank_1": 0.5}}
    runs = {"cmr_all_views": {1: {"test": ours}}, "fixed_margin": {1: {"test": theirs}}}
    for way, expected in (("global", 10), ("parts", 20), ("whole", 10)):
        found = against(runs, "cmr_all_views", "fixed_margin", way, "rank_1")
        assert found is not None
        assert found.mean == pytest.approx(expected)


def test_weights_of_the_parts_are_listed_from_none_to_all() -> None:
    split = {"global": {"rank_1": 0.5}, "parts": {"rank_1": 0.4}, "whole": {"rank_1": 0.7}}
    run = {"val": split, "test": split, "by_part_weight": {"0.8": {"val": 0.7, "test": 0.6}}}
    header, _, val, test = weight_table({"cmr_all_views": {1: run, 2: {"val": split, "test": split}}, "itc": {1: {}}})
    assert header == "| contender | split | seeds | 0 | 0.8 | 1 |"
    assert val == "| cmr_all_views | val | 1 | 50.0 | 70.0 | 40.0 |"
    assert test == "| cmr_all_views | test | 1 | 50.0 | 60.0 | 40.0 |"


def test_people_trained_on_are_reported_where_they_were_measured() -> None:
    ways = {way: {"rank_1": 0.5, "rank_5": 0.5, "mAP": 0.5} for way in ("global", "parts", "whole")}
    trained = {way: {"rank_1": 0.75} for way in ways}
    old, new = {"test": ways}, {"test": ways, "train": trained}
    assert metric({1: old, 2: new}, "whole", "rank_1", "train") == {2: 75}
    *_, row = retrieval_table({"itc": {1: old, 2: new}}, [])
    assert row.endswith("| 75.0 (1) |")


def test_an_incomplete_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "seed3.json").write_text('{"test": {')
    with pytest.raises(ValueError, match=r"seed3\.json is not a complete result .* Delete it"):
        by_seed(tmp_path)


def test_every_method_and_ablation_is_a_configuration() -> None:
    for method in METHODS.values():
        for choice in choices(method):
            config = TBPSConfig(**{**TOWERS, **method.settings, **choice})
            losses = (config.cmr_loss_weight, config.part_matching_loss_weight, config.part_independence_loss_weight)
            assert any(losses) == method.has_parts  # a baseline trains no part, whatever the defaults are
    for change in ABLATIONS.values():
        TBPSConfig(**{**TOWERS, **METHODS[ABLATED].settings, **change})


def test_oracle_commonality_is_who_wears_the_same_there(perfect: Parts) -> None:
    """For perfect parts the oracle answers what they see; for parts without a region nothing. Then it is gone."""
    rows = datasets.Dataset.from_dict({"person_id": [7, 5, 9, 5]})
    people = dict(zip((5, 7, 9), perfect.people[::3], strict=False))
    found = codes(rows, SimpleNamespace(people=people), {1: 0, 3: 2}, num_parts=4)
    upper = [value(BODY[1], people[person]) for person in (5, 7, 9)]
    assert (found[[1, 3]] == -1).all()
    ids = torch.tensor([0, 1, 2, 0])  # of people 5, 7, 9, 5
    parts = torch.ones(4, 4, 8)
    estimate = COMMONALITY[REPLACED]
    with oracle_commonality(found):
        answered = COMMONALITY[REPLACED](AnchorRows(parts, parts, parts, parts, ids, ids, torch.ones(4)))
    assert COMMONALITY[REPLACED] is estimate
    assert answered[0].tolist() == [[float(upper[a] == upper[b]) for b in ids] for a in ids]
    assert (answered[[1, 3]] == 0).all()


def test_the_oracle_needs_a_finished_run(tmp_path: Path) -> None:
    (oracle,) = main_runs(tmp_path, [1], ["cmr_told"], tuned=False, oracle=True)
    assert main_runs(tmp_path, [1], ["cmr_told"], tuned=False) == []
    assert oracle.oracle_run == run_file(tmp_path, ORACLE_SOURCE, 1)
    with pytest.raises(FileNotFoundError, match="run that method on this seed first"):
        known_parts(oracle.oracle_run)


def test_tuning_takes_the_best_on_val(tmp_path: Path) -> None:
    options = choices(METHODS[ABLATED])
    for rank, choice in enumerate(options):
        result = {"val": {"global": {"rank_1": 1 - rank}, "whole": {"rank_1": rank}}, "test": {"rank_1": -rank}}
        file = tuning_file(tmp_path, ABLATED, choice)
        assert not is_tuned(tmp_path, ABLATED, [])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(result))
    assert is_tuned(tmp_path, ABLATED, [{"settings": settings_of(tmp_path, ABLATED)}])
    assert not is_tuned(tmp_path, ABLATED, [{"settings": settings_of(tmp_path, ABLATED, tuned=False)}])
    assert settings_of(tmp_path, ABLATED) == {**METHODS[ABLATED].settings, **options[-1]}
    assert settings_of(tmp_path, ABLATED, tuned=False) == {**METHODS[ABLATED].settings, **options[0]}
    assert tuning(tmp_path, ABLATED) == {"cmr_margin=0.3": 0, "cmr_margin=0.15": 100}


def test_differences_are_to_tuned_and_to_untuned_runs(tmp_path: Path) -> None:
    for folder, name, rank in (("runs", "sdm_id", 0.5), ("runs", "part_matching", 0.6), ("untuned", "sdm_id", 0.4)):
        write_run(tmp_path, name, rank, stage=folder)
    tuned, untuned = tables(collect(tmp_path)).split("## Untuned runs")
    for way in ("global", "parts", "whole"):
        assert tuned.count(f"| part_matching | {way} | - | - | +10.0 (1) | - | - |") == 3  # R@1, R@5, mAP
        assert untuned.count(f"| part_matching | {way} | +20.0 (1) |") == 3


def test_unknown_method_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--only sdm: expected some of itc, sdm_id"):
        main_runs(tmp_path, [1], ["sdm"])


def spied(monkeypatch: pytest.MonkeyPatch, name: str) -> list[tuple[Any, ...]]:
    """What a function that `benchmarks.method.run` calls is given, call by call; it does what it did."""
    calls: list[tuple[Any, ...]] = []
    function = getattr(run_module, name)
    monkeypatch.setattr(run_module, name, lambda *arguments: (calls.append(arguments), function(*arguments))[1])
    return calls


def test_a_run_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    regime = Regime(people=30, steps=2, batch_size=8, start_people=30, start_steps=2, caption_noise=0.5)
    start = tmp_path / "start"
    make_start(start, tmp_path, regime.start_people, regime.start_steps, regime.batch_size)
    written = (start / WEIGHTS).stat().st_mtime_ns
    make_start(start, tmp_path, regime.start_people, regime.start_steps, regime.batch_size)
    assert (start / WEIGHTS).stat().st_mtime_ns == written  # made once
    file = tmp_path / "seed1.json"
    threads = torch.get_num_threads()
    settings = METHODS[ABLATED].settings
    oracle_run = tmp_path / "oracle_run.json"
    regions = ("head", "upper", "lower", "shoes", "bag")
    oracle_run.write_text(json.dumps({"truth": {region: {"part": part} for part, region in enumerate(regions)}}))
    planned = Planned(file, settings, 1, {"noisy_pairs": "filter"}, oracle_run)
    asked, assigned, trained = (spied(monkeypatch, name) for name in ("oracle_of_run", "assign", "make_trainer"))
    run(planned, regime, start, tmp_path)
    clean = splits(world(tmp_path, 1, regime.people))
    assert [arguments[0] for arguments in asked] == [oracle_run]
    assert {int(person) for (parts,) in assigned for person in parts.person_ids} == set(clean["val"]["person_id"])
    noisy = trained[0][2]["train"]
    assert noisy["person_id"][:] == clean["train"]["person_id"][:]
    assert noisy["captions"][:] != clean["train"]["captions"][:]
    torch.set_num_threads(threads)
    found = json.loads(file.read_text())
    assert set(found["test"]) == set(found["val"]) == set(found["train"]) == {"global", "parts", "whole"}
    assert 0 <= found["test"]["whole"]["rank_1"] <= 1
    assert set(found["truth"]) == set(regions)
    assert found["truth"]["bag"]["by_item"]
    best = str(found["part_weight"])
    assert found["by_part_weight"][best]["test"] == found["test"]["whole"]["rank_1"]
    assert found["by_part_weight"][best]["val"] == max(ranks["val"] for ranks in found["by_part_weight"].values())
    with Image.open(file.with_suffix(".jpg")) as picture:  # where the parts look
        assert picture.width > 300
    assert not list(tmp_path.glob("*.partial*"))
    assert set(found["suspected"]) == {"count", "precision", "recall"}
    assert is_done(planned, regime)
    assert not is_done(planned._replace(settings={**settings, "cmr_margin": 0.15}), regime)
    assert not is_done(planned._replace(training={}), regime)
    assert not is_done(planned._replace(oracle_run=None), regime)
    assert not is_done(planned._replace(file=tmp_path / "seed2.json"), regime)
    assert not is_done(planned, replace(regime, caption_noise=0.2))


def test_results_of_before_there_was_noise_count_as_without(tmp_path: Path) -> None:
    file = tmp_path / "seed1.json"
    regime = {"people": 30, "steps": 2, "batch_size": 8, "start_people": 30, "start_steps": 2}
    file.write_text(json.dumps({"settings": {"num_parts": 8}, "seed": 1, "regime": regime}))
    assert is_done(Planned(file, {"num_parts": 8}, 1, {}), Regime(**regime))


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_noise_moves_captions_to_other_people(tmp_path: Path, share: float) -> None:
    rows = make_rows(tmp_path, people=9)
    captions = [[f"caption {row} {i}" for i in range(2)] for row in range(len(rows))]
    rows = rows.remove_columns("captions").add_column("captions", captions)
    noisy, moved = with_noise(rows, share, seed=3)
    assert moved.sum() == round(share * 36)
    people = rows["person_id"][:]
    flat = [caption for mates in noisy["captions"] for caption in mates]
    assert sorted(flat) == sorted(caption for mates in captions for caption in mates)  # none lost, none twice
    for pair, caption in enumerate(flat):
        source = int(caption.split()[1])
        assert (people[source] != people[pair // 2]) == moved[pair]
    if share == 0.2:
        assert (with_noise(rows, share, seed=4)[1] != moved).any()


def test_people_that_are_measured_beside_test_keep_all_their_pictures() -> None:
    rows = datasets.Dataset.from_dict({"person_id": [4, 7, 4, 9, 7], "row": [0, 1, 2, 3, 4]})
    assert first_people(rows, 2)["row"][:] == [0, 1, 2, 4]
    assert first_people(rows, 8)["row"][:] == [0, 1, 2, 3, 4]


def test_noise_that_one_person_cannot_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="are one person's: expected at most half"):
        with_noise(make_rows(tmp_path, people=1), 1.0, seed=0)
