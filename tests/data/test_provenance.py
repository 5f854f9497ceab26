"""A benchmark is named only for data that are that benchmark as published, in evaluation and on the card."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from datasets import DatasetDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_results import make_results
from tiny import make_rows

from tbps import TBPSModel
from tbps.cli.main import main
from tbps.data.benchmarks import BENCHMARKS, Size
from tbps.data.loading import load_benchmark
from tbps.data.provenance import provenance, size_of
from tbps.data.splits import hold_out_identities
from tbps.data.toypedes import generate
from tbps.sharing.card import make_card

CUHK = BENCHMARKS["CUHK-PEDES"]
LAYOUTS = ("CUHK-PEDES", "ICFG-PEDES", "RSTPReid")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("toy"), people=20, images_per_person=2, progress=False).root


def own_data(folder: Path, name: str = "CUHK-PEDES") -> Path:
    """Six people in train, six in val and six in test, in the layout of a benchmark."""
    benchmark, entries = BENCHMARKS[name], []
    for place, split in enumerate(benchmark.splits):
        for row in make_rows(folder / benchmark.folder / "imgs" / split, people=6, first_id=10 * place):
            path = f"{split}/{row['file_path']}"
            entry = {"split": split, "id": row["person_id"], "captions": row["captions"], benchmark.path_key: path}
            entries.append(entry)
    (folder / benchmark.folder / benchmark.annotations[0]).write_text(json.dumps(entries))
    return folder


def as_if_published(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> DatasetDict:
    """Take the sizes of these data for those that were published."""
    splits = load_benchmark(name, folder)
    for split in BENCHMARKS[name].sizes:
        monkeypatch.setitem(BENCHMARKS[name].sizes, split, size_of(splits[split]))  # type: ignore[arg-type]
    return splits


def standings(found: dict[str, Any]) -> dict[str, str]:
    return {split: entry["standing"] for split, entry in found.items()}


@pytest.mark.parametrize("name", LAYOUTS)
def test_own_data_in_the_layout_of_a_benchmark_are_recognised(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_data(tmp_path, name)
    splits = load_benchmark(name, tmp_path)
    assert set(standings(provenance(name, tmp_path, splits)).values()) == {"other"}
    as_if_published(monkeypatch, tmp_path, name)
    assert set(standings(provenance(name, tmp_path, splits)).values()) == {"published"}


def test_people_held_out_of_train_count_as_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = as_if_published(monkeypatch, own_data(tmp_path, "ICFG-PEDES"), "ICFG-PEDES")
    splits["train"], splits["val"] = hold_out_identities(splits["train"], 0.3, seed=0)
    assert standings(provenance("ICFG-PEDES", tmp_path, splits)) == dict.fromkeys(("train", "val", "test"), "published")
    less = {**splits, "train": splits["train"].select(range(3))}
    assert standings(provenance("ICFG-PEDES", tmp_path, less))["train"] == "incomplete"
    on_a_corpus = {**splits, "train": object()}
    assert standings(provenance("ICFG-PEDES", tmp_path, on_a_corpus)) == dict.fromkeys(("val", "test"), "published")


def test_skipped_rows_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_if_published(monkeypatch, own_data(tmp_path), "CUHK-PEDES")
    (tmp_path / "CUHK-PEDES" / "imgs" / "test" / "000_0.png").unlink()
    splits = load_benchmark("CUHK-PEDES", tmp_path, skip_missing=True)
    found = provenance("CUHK-PEDES", tmp_path, splits)
    assert standings(found) == {"train": "published", "val": "published", "test": "incomplete"}
    assert (found["test"]["size"], found["test"]["whole"]) == ([6, 11, 22], [6, 12, 24])
    annotation = tmp_path / "CUHK-PEDES" / "reid_raw.json"
    entries = json.loads(annotation.read_text())
    entries[0]["captions"][0] = " "
    annotation.write_text(json.dumps(entries))
    splits = load_benchmark("CUHK-PEDES", tmp_path, skip_missing=True, skip_empty_captions=True)
    assert standings(provenance("CUHK-PEDES", tmp_path, splits))["train"] == "incomplete"


def test_rendered_people_are_known_by_their_ground_truth(toy: Path, tmp_path: Path) -> None:
    splits = load_benchmark("ToyPEDES", toy)
    assert set(standings(provenance("ToyPEDES", toy, splits)).values()) == {"published"}
    own = tmp_path / "ToyPEDES"
    own_data(tmp_path)
    (tmp_path / "CUHK-PEDES").rename(own)
    assert set(standings(provenance("ToyPEDES", own, load_benchmark("ToyPEDES", own))).values()) == {"other"}
    shutil.copytree(toy / "ground_truth", own / "ground_truth")
    assert set(standings(provenance("ToyPEDES", own, load_benchmark("ToyPEDES", own))).values()) == {"other"}


def test_tbps_evaluate_warns_of_results_that_are_not_comparable(
    tmp_path: Path, tiny_model: TBPSModel, tiny_processor: Any, capsys: pytest.CaptureFixture[str], toy: Path
) -> None:
    tiny_model.save_pretrained(tmp_path / "model")
    tiny_processor.save_pretrained(tmp_path / "model")
    own_data(tmp_path)
    for more in ([], ["--json"]):
        assert main(["evaluate", str(tmp_path / "model"), "CUHK-PEDES", str(tmp_path), *more]) == 0
        said = capsys.readouterr().err
        assert "no result on CUHK-PEDES: test has 12 images and 24 captions of 6 people, which is not the" in said
        assert "3,074 images and 6,156 captions of 1,000 people" in said
    assert main(["evaluate", str(tmp_path / "model"), "ToyPEDES", str(toy)]) == 0
    assert "no result" not in capsys.readouterr().err


# -- the card

SIZES = st.builds(Size, st.integers(1, 2000), st.integers(1, 40000), st.integers(1, 80000))


def entry(split: str, size: Size, whole: Size) -> dict[str, Any]:
    """The entry of `provenance`, computed independently."""
    published = CUHK.sizes[split]
    standing = "other" if whole != published else "published" if size == whole else "incomplete"
    return {"size": list(size), "whole": list(whole), "published": list(published), "standing": standing}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_card_claims_a_benchmark_only_for_its_published_splits(tiny_model: TBPSModel, data: st.DataObject) -> None:
    found = {}
    for split in ("train", "val", "test"):
        whole = data.draw(SIZES | st.just(CUHK.sizes[split]))
        found[split] = entry(split, data.draw(SIZES | st.just(whole)), whole)
    card = make_card(tiny_model, make_results("CUHK-PEDES", data=json.loads(json.dumps(found))))
    stands = {split: found[split]["standing"] for split in found}
    claims = {result.dataset_split for result in card.data.eval_results or []}
    assert claims == {split for split in ("val", "test") if stands[split] == "published"}
    assert (card.data.datasets == ["CUHK-PEDES"]) == (stands["train"] != "other")
    assert (card.data.license == "other") == (stands["train"] != "other")
    assert ("## Licence" in card.text) == (stands["train"] != "other")
    assert ("Text-to-image retrieval on CUHK-PEDES" in card.text) == bool(claims)
    assert ("Not comparable with results on CUHK-PEDES" in card.text) == (claims != {"val", "test"})
    assert ("Trained on the train split of CUHK-PEDES" in card.text) == (stands["train"] == "published")


def test_a_card_says_nothing_of_other_models(tiny_model: TBPSModel) -> None:
    assert tiny_model.config.part_weight
    text = make_card(tiny_model, make_results("CUHK-PEDES")).text
    for number in ("9.8", "8.1", "seeds", "other models"):
        assert number not in text


def test_own_data_in_the_layout_of_rendered_data_are_not_called_rendered(tiny_model: TBPSModel) -> None:
    other = {"size": [6, 12, 24], "whole": [6, 12, 24], "published": None, "standing": "other"}
    card = make_card(tiny_model, make_results(data=dict.fromkeys(("train", "val", "test"), other)))
    assert "rendered" not in card.text
    assert "in the files of ToyPEDES" in card.text
    assert card.data.datasets is None
    assert card.data.eval_results is None
