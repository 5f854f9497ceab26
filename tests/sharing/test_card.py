"""The model card states what was measured and nothing else."""

import json
from pathlib import Path

import pytest
from hub_store import validate_card
from huggingface_hub import ModelCard
from run_results import METRICS, make_results

from tbps import TBPSModel, TBPSProcessor, TBPSTrainingArguments
from tbps.evaluation.fingerprint import identify
from tbps.sharing.card import REPO_PLACEHOLDER, make_card
from tbps.sharing.errors import SharingError
from tbps.sharing.push import read_results
from tbps.training.card_facts import start_facts, training_facts
from tbps.training.recipe import ModelArguments


def test_metrics_are_those_of_the_results(tiny_model: TBPSModel) -> None:
    card = make_card(tiny_model, make_results(), "someone/model")
    read = ModelCard(str(card)).data
    assert validate_card(str(card)) == []
    assert (read.library_name, read.pipeline_tag) == ("transformers", "feature-extraction")
    assert read.datasets == ["ToyPEDES"]
    assert read.metrics == list(METRICS)
    found = {(result.dataset_split, result.metric_type): result.metric_value for result in read.eval_results}
    assert found == {(split, name): value for split in ("val", "test") for name, value in METRICS.items()}
    assert "| test | 25.00 | 50.00 | 75.00 | 31.25 | 12.50 |" in card.text
    assert "selected by its result on val" in card.text
    assert "| learning_rate | 0.001 |" in card.text
    assert "from random weights" in card.text
    assert "secret-place" not in str(card)


def test_the_card_names_rendered_data(tiny_model: TBPSModel) -> None:
    assert "Trained on rendered data." in make_card(tiny_model, make_results()).text
    only_measured = {name: value for name, value in make_results().items() if not name.startswith("training_")}
    card = make_card(tiny_model, only_measured)
    assert "Evaluated on rendered data." in card.text
    assert card.data.datasets is None
    assert "## Training" not in card.text
    assert "rendered" not in make_card(tiny_model, make_results("RSTPReid")).text


def test_a_card_without_results_states_none(tiny_model: TBPSModel) -> None:
    card = make_card(tiny_model, {})
    assert validate_card(str(card)) == []
    stated = card.data.to_dict()
    assert set(stated) == {"library_name", "pipeline_tag", "tags"}
    for word in ("## Evaluation", "## Training", "## Licence", "selected", "None", "rendered"):
        assert word not in card.text
    assert "No evaluation of this model is known." in card.text
    assert f'from_pretrained("{REPO_PLACEHOLDER}")' in card.text


def test_val_alone_and_the_last_checkpoint(tiny_model: TBPSModel) -> None:
    results = {name: value for name, value in make_results().items() if not name.startswith("test_")}
    card = make_card(tiny_model, {**results, "best_checkpoint": None})
    assert {result.dataset_split for result in card.data.eval_results} == {"val"}
    assert "| test |" not in card.text
    assert "The checkpoint is the last one; none was selected." in card.text
    assert "selected by" not in card.text


def test_people_held_out_of_train_are_mentioned(tiny_model: TBPSModel) -> None:
    assert "ICFG-PEDES has no such split" in make_card(tiny_model, make_results("icfg-pedes")).text
    assert "no such split" not in make_card(tiny_model, make_results("CUHK-PEDES")).text


def test_the_licence_is_stated_or_that_of_the_data(tiny_model: TBPSModel) -> None:
    assert make_card(tiny_model, make_results()).data.license is None
    data = make_card(tiny_model, make_results("CUHK-PEDES")).data
    assert (data.license, data.license_name) == ("other", "terms-of-the-training-data")
    assert data.license_link.startswith("https://")
    chosen = make_card(tiny_model, make_results("CUHK-PEDES"), license="mit", tags="mine", language="en")
    assert (chosen.data.license, chosen.data.language) == ("mit", "en")
    assert chosen.data.tags[-1] == "mine"
    assert "license_name" not in chosen.data.to_dict()
    assert "The terms of CUHK-PEDES" in chosen.text
    assert validate_card(str(chosen)) == []


def test_results_of_another_model_are_refused(
    tmp_path: Path, tiny_model: TBPSModel, tiny_processor: TBPSProcessor
) -> None:
    mine = identify(tiny_model, tiny_processor).fingerprint
    assert read_results(tmp_path, mine) == {}
    path = tmp_path / "results.json"
    for text, message in [
        (json.dumps(make_results(model_fingerprint="of another")), "of another, but the model to share has " + mine),
        (json.dumps(make_results()), "fingerprint None"),
        ("[1]", "fingerprint None"),
        ("{", "is not JSON"),
    ]:
        path.write_text(text)
        with pytest.raises(SharingError, match=message):
            read_results(tmp_path, mine)
    path.write_text(json.dumps(make_results(model_fingerprint=mine)))
    assert read_results(tmp_path, mine)["test_mAP"] == METRICS["mAP"]


def test_stated_settings_hold_no_path_and_no_token(tmp_path: Path) -> None:
    arguments = TBPSTrainingArguments(str(tmp_path), hub_token="hf_private", hub_model_id="a/b", use_cpu=True, seed=7)
    facts = training_facts(arguments)
    assert facts["training_arguments"]["seed"] == 7
    assert json.loads(json.dumps(facts)) == facts
    assert "hf_private" not in json.dumps(facts)
    assert str(tmp_path) not in json.dumps(facts)
    assert start_facts(ModelArguments(clip_checkpoint="openai/clip-vit-base-patch16")) == {
        "from_scratch": False,
        "base_model": "openai/clip-vit-base-patch16",
    }
    assert start_facts(ModelArguments(model_name_or_path=str(tmp_path))) == {"from_scratch": False, "base_model": None}
    assert start_facts(ModelArguments())["from_scratch"]
