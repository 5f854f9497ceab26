"""Errors of the Hub: one line that says what to do and never contains the token."""

import json
import logging
import socket
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import transformers
from hub_server import TOKEN, HubServer, log_in, running_hub
from hub_store import RefusalError
from tiny import make_rows
from transformers import CLIPTextConfig

import train_hf
from tbps import TBPSModel, TBPSProcessor, TBPSTrainer, TBPSTrainingArguments
from tbps.cli.main import main
from tbps.sharing.errors import SharingError
from tbps.training.recipe import RecipeError

WRONG = "hf_WrongWrongWrongWrongWrong"


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with running_hub() as server:
        yield server


@pytest.fixture(autouse=True)
def logged_in(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(hub, monkeypatch)


@pytest.fixture
def run_dir(tmp_path: Path, tiny_model: TBPSModel, tiny_processor: TBPSProcessor) -> Path:
    tiny_model.save_pretrained(tmp_path / "run")
    tiny_processor.save_pretrained(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def refusal(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, propagate: None
) -> Iterator[Callable[..., str]]:
    """Runs `tbps push` to its error; returns the line, after checking that no output and no log contains a token."""
    huggingface_hub.logging.enable_propagation()
    huggingface_hub.logging.set_verbosity_debug()
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_debug()

    def push(*arguments: object) -> str:
        with caplog.at_level(logging.DEBUG):
            assert main(["push", *map(str, arguments)]) == 2
        said = capsys.readouterr()
        for token in (TOKEN, WRONG):
            assert token not in said.out + said.err + caplog.text
        assert "Traceback" not in said.err
        lines = [line for line in said.err.splitlines() if line.startswith("tbps: error: ")]
        assert len(lines) == 1
        assert said.err.endswith(lines[0] + "\n")
        return lines[0]

    yield push
    transformers.logging.set_verbosity(verbosity)
    huggingface_hub.logging.set_verbosity_warning()
    huggingface_hub.logging.disable_propagation()


def test_no_login(run_dir: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert "not logged in to http://127.0.0.1" in (said := refusal(run_dir, "someone/model"))
    assert "hf auth login" in said


def test_a_token_that_the_hub_refuses(
    run_dir: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", WRONG)
    said = refusal(run_dir, "someone/model")
    assert "someone/model on http://127.0.0.1" in said
    assert "the Hub refused the token (401)" in said
    assert "Bearer <token>" in said  # the server repeats what it got


def test_no_permission(hub: HubServer, run_dir: Path, refusal: Callable[..., str]) -> None:
    said = refusal(run_dir, "forbidden/model")
    assert "no permission (403): expected a token with write access" in said
    assert "You don't have the rights to create a model" in said
    hub.store.create("forbidden/there", private=False, url="")
    said = refusal(run_dir, "forbidden/there")
    assert "no permission (403)" in said
    assert "You may not write to this repository" in said


def test_no_connection(run_dir: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert "ConnectError" in refusal(run_dir, "someone/model")


def test_an_upload_that_breaks_off(
    hub: HubServer, run_dir: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(oid: str, data: bytes) -> None:
        raise RefusalError(400, "", f"no room for {oid}")

    monkeypatch.setattr(hub.store, "put", refuse)
    said = refusal(run_dir, "someone/broken")
    assert "Error while uploading 'model.safetensors' to the Hub." in said
    assert "no room for" in said


@pytest.mark.parametrize("name", ["a/b/c", "so me/model", "-bad/model", "some--one/model"])
def test_a_malformed_repo_id(name: str, run_dir: Path, refusal: Callable[..., str], hub: HubServer) -> None:
    asked = len(hub.requests)
    assert f"repo id must be NAME/MODEL, got {name!r}" in refusal("--", run_dir, name)
    assert len(hub.requests) == asked


def test_directories_without_a_model_to_share(tmp_path: Path, run_dir: Path, refusal: Callable[..., str]) -> None:
    assert "nowhere holds no model: expected config.json" in refusal(tmp_path / "nowhere", "someone/model")
    assert "holds no model: expected config.json" in refusal(tmp_path, "someone/model")
    CLIPTextConfig().save_pretrained(tmp_path / "clip")
    assert "a model of type 'clip_text_model': expected a tbps checkpoint" in refusal(tmp_path / "clip", "a/b")
    (run_dir / "processor_config.json").unlink()
    (run_dir / "tokenizer_config.json").unlink()
    (run_dir / "tokenizer.json").unlink()
    assert "holds no processor that can be loaded" in refusal(run_dir, "someone/model")
    torch.save({}, run_dir / "pytorch_model.bin")
    (run_dir / "model.safetensors").unlink()
    assert "pytorch_model.bin, a pickle" in refusal(run_dir, "someone/model")


def test_results_of_another_model_are_not_shared(run_dir: Path, refusal: Callable[..., str]) -> None:
    (run_dir / "results.json").write_text(json.dumps({"model_fingerprint": "f00", "test_rank_1": 1.0}))
    assert "describes a model with fingerprint f00" in refusal(run_dir, "someone/model")


def test_a_card_that_its_owner_edited_is_kept(hub: HubServer, run_dir: Path) -> None:
    (run_dir / "README.md").write_text("---\nlicense: mit\n---\n\n# Mine, at YOUR-NAME/YOUR-MODEL\n")
    assert main(["push", str(run_dir), "someone/edited", "--private"]) == 0
    card = hub.store.repository("someone/edited").files("main")["README.md"].decode()
    assert card == "---\nlicense: mit\n---\n\n# Mine, at someone/edited\n"
    assert hub.store.repository("someone/edited").private
    assert main(["push", str(run_dir), "someone/edited", "--license", "apache-2.0"]) == 0
    card = hub.store.repository("someone/edited").files("main")["README.md"].decode()
    assert "license: apache-2.0" in card


def make_trainer(folder: Path, model: TBPSModel, processor: TBPSProcessor, **arguments: Any) -> TBPSTrainer:
    args = TBPSTrainingArguments(str(folder / "out"), use_cpu=True, push_to_hub=True, hub_token=TOKEN, **arguments)
    return TBPSTrainer(model, args, train_dataset=make_rows(folder / "images", 6), processing_class=processor)


def test_a_trainer_is_refused_before_it_trains(
    tmp_path: Path, tiny_model: TBPSModel, tiny_processor: TBPSProcessor
) -> None:
    options = {"per_device_train_batch_size": 6}
    with pytest.raises(SharingError, match=r"forbidden/model on .*no permission \(403\)") as caught:
        make_trainer(tmp_path, tiny_model, tiny_processor, hub_model_id="forbidden/model", **options)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(ValueError, match="hub_strategy='every_save': expected 'end'"):
        make_trainer(tmp_path, tiny_model, tiny_processor, hub_strategy="every_save", **options)


def test_a_misspelled_option_does_not_repeat_its_value() -> None:
    with pytest.raises(RecipeError, match="unknown keys: hubtoken") as caught:
        train_hf.main(["recipes/quickstart.yaml", "--hubtoken", TOKEN])
    assert TOKEN not in str(caught.value)
