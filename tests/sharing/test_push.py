"""One process pushes a model and another pulls it over HTTP, from a Hub that the tests run."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import TOKEN, HubServer, running_hub
from huggingface_hub import ModelCard
from PIL import Image
from repository import ROOT
from tiny import make_config, make_tokenizer

from tbps import TBPSImageProcessor, TBPSModel, TBPSProcessor
from tbps.evaluation.fingerprint import identify

TRAIN = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
import transformers, huggingface_hub
transformers.logging.set_verbosity_debug()
huggingface_hub.logging.set_verbosity_debug()
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tiny import make_config, make_rows, make_tokenizer
from tbps import TBPSImageProcessor, TBPSModel, TBPSProcessor, TBPSTrainer, TBPSTrainingArguments
folder, token = Path(sys.argv[2]), sys.argv[3]
rows = make_rows(folder / "images", people=6)
model = TBPSModel(make_config(num_identities=6))
args = TBPSTrainingArguments(
    str(folder / "run"), max_steps=1, per_device_train_batch_size=6, use_cpu=True, report_to="none", log_level="debug",
    push_to_hub=True, hub_model_id="someone/trained", hub_private_repo=True, hub_token=token, seed=5,
    dataloader_pin_memory=False, save_steps=1,
)
processor = TBPSProcessor(TBPSImageProcessor(size={"height": 32, "width": 16}), make_tokenizer())
trainer = TBPSTrainer(model, args, train_dataset=rows, processing_class=processor)
trainer.train()
print(args)
trainer.push_to_hub(tags="of-a-test", blocking=False).result()
assert model.id_head is not None and model.config.num_identities == 6
model.save_pretrained(folder / "kept")
processor.save_pretrained(folder / "kept")
"""

PULL = """
import sys
sys.modules["tbps"] = None
import io, json, torch
from contextlib import redirect_stderr
from pathlib import Path
from PIL import Image
import transformers
from transformers import AutoModel, AutoProcessor
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)
picture, broken, *repos = sys.argv[1:]
found = {}
for repo in repos:
    name, revision = repo.split("@")
    model = AutoModel.from_pretrained(name, revision=revision, trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained(name, revision=revision, trust_remote_code=True)
    batch = processor(text=["a red bag"], images=[Image.open(picture)], return_tensors="pt")
    with torch.no_grad():
        out = model(**batch)
    found[repo] = [out.text_embeds[0].tolist(), out.image_embeds[0].tolist()]
    found["class"] = type(model).__module__
card = Path(transformers.utils.cached_file(repos[0].split("@")[0], "README.md")).read_text()
for block in card.split("```python")[2:]:  # the first imports tbps
    exec(block.split("```")[0])
config, pickle = Path(broken) / "config.json", Path(broken) / "pytorch_model.bin"
for case, fields in (("version", {"tbps_version": "98.0.0", "pooling": "attention"}), ("pickle", {})):
    saved = config.read_text()
    config.write_text(json.dumps({**json.loads(saved), **fields}))
    try:
        AutoModel.from_pretrained(broken, trust_remote_code=True)
    except ValueError as error:
        found[case] = str(error)
    config.write_text(saved)
print("\\n" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with running_hub() as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sharing")


@pytest.fixture(scope="module")
def run_dir(folder: Path) -> Path:
    """A finished run: checkpoint with the training head, results of this model, and what is nobody's business."""
    torch.manual_seed(0)
    model = TBPSModel(make_config(num_identities=5)).eval()
    processor = TBPSProcessor(TBPSImageProcessor(size={"height": 32, "width": 16}), make_tokenizer())
    path = folder / "run-of-mine"
    model.save_pretrained(path)
    processor.save_pretrained(path)
    results = {
        "benchmark": "ToyPEDES",
        "selected_on": "val",
        "best_checkpoint": f"{path}/checkpoint-3",
        "training_arguments": {"seed": 0},
        "model_fingerprint": identify(model, processor).fingerprint,
        **{f"test_{name}": 0.5 for name in ("rank_1", "rank_5", "rank_10", "mAP", "mINP")},
    }
    (path / "results.json").write_text(json.dumps(results))
    (path / "checkpoint-3").mkdir()
    for name in ("training_args.bin", "checkpoint-3/optimizer.pt", "notes.txt"):
        (path / name).write_bytes(b"private")
    return path


def run(command: list[str], hub: HubServer, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process that speaks to the tests' Hub, with a home of its own so that no login of the user is found."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
    own = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home), **environment}
    return subprocess.run([sys.executable, *command], env={**kept, **own}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def pushed(hub: HubServer, folder: Path, run_dir: Path) -> subprocess.CompletedProcess[str]:
    command = ["-m", "tbps.cli.main", "push", str(run_dir), "someone/model", "--revision", "tried"]
    return run(command, hub, folder / "home", HF_TOKEN=TOKEN, HF_DEBUG="1")


@pytest.fixture(scope="module")
def trained(hub: HubServer, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["-c", TRAIN, str(ROOT / "tests" / "support"), str(folder / "trained"), TOKEN]
    return run(command, hub, folder / "home")


def files_of(hub: HubServer, repo: str, revision: str = "main") -> dict[str, bytes]:
    return hub.store.repository(repo).files(revision)


def test_tbps_push_shares_model_processor_code_and_card_alone(
    hub: HubServer, pushed: subprocess.CompletedProcess[str]
) -> None:
    assert pushed.returncode == 0, pushed.stderr
    assert f"to {hub.endpoint}/someone/model/commit/" in pushed.stdout
    assert set(files_of(hub, "someone/model")) == {".gitattributes"}
    files = files_of(hub, "someone/model", "tried")
    code = {path.name for path in (ROOT / "tbps").glob("*_tbps.py")}
    others = {".gitattributes", "README.md", "config.json", "model.safetensors", "processor_config.json",
              "tokenizer.json", "tokenizer_config.json"}  # fmt: skip
    assert set(files) == code | others
    assert b"id_head" not in files["model.safetensors"]
    config = json.loads(files["config.json"])
    assert config["num_identities"] == 0
    assert config["auto_map"]["AutoModel"] == "modeling_tbps.TBPSModel"
    card = ModelCard(files["README.md"].decode())
    assert {result.metric_value for result in card.data.eval_results} == {0.5}
    assert 'from_pretrained("someone/model")' in card.text
    assert any(method == "PUT" for method, _, _ in hub.requests)  # through the large file storage
    assert not hub.store.repository("someone/model").private


def test_trainer_pushes_without_head_and_arguments(
    hub: HubServer, folder: Path, trained: subprocess.CompletedProcess[str]
) -> None:
    assert trained.returncode == 0, trained.stderr[-3000:]
    files = files_of(hub, "someone/trained")
    assert hub.store.repository("someone/trained").private
    assert b"id_head" not in files["model.safetensors"]
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pth")) or "checkpoint-" in name]
    card = ModelCard(files["README.md"].decode())
    assert "| seed | 5 |" in card.text
    assert card.data.eval_results is None
    assert "of-a-test" in card.data.tags
    assert files["README.md"].decode() == (folder / "trained" / "run" / "README.md").read_text()


@torch.no_grad()
def test_pulled_where_tbps_cannot_be_imported_embeddings_are_bit_equal(
    hub: HubServer,
    folder: Path,
    run_dir: Path,
    pushed: subprocess.CompletedProcess[str],
    trained: subprocess.CompletedProcess[str],
    tiny_processor: TBPSProcessor,
    pictures: list[Image.Image],
) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    pictures[0].save(elsewhere / "person.jpg", format="PNG")
    broken = elsewhere / "broken"
    TBPSModel.from_pretrained(run_dir).save_pretrained(broken)
    torch.save({}, broken / "pytorch_model.bin")
    (broken / "model.safetensors").unlink()
    (elsewhere / "pull.py").write_text(PULL)
    hub.store.repository("someone/model").branches["main"] = hub.store.repository("someone/model").branches["tried"]
    pulled = subprocess.run(
        [sys.executable, "pull.py", "person.jpg", "broken", "someone/model@tried", "someone/trained@main"],
        cwd=elsewhere, capture_output=True, text=True, check=False,
        env={**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": "",
             "HF_HOME": str(folder / "other-home"), "HF_TOKEN": TOKEN},
    )  # fmt: skip
    assert pulled.returncode == 0, pulled.stderr
    found = json.loads(pulled.stdout.splitlines()[-1])
    assert found["class"].startswith("transformers_modules.")
    batch = tiny_processor(text=["a red bag"], images=[Image.open(elsewhere / "person.jpg")], return_tensors="pt")
    for repo, source in (("someone/model@tried", run_dir), ("someone/trained@main", folder / "trained" / "kept")):
        model = TBPSModel.from_pretrained(source)
        model.drop_id_head()
        model.save_pretrained(elsewhere / repo)  # in a file of equal layout: sums round by where weights lie in memory
        out = TBPSModel.from_pretrained(elsewhere / repo).eval()(**batch)
        assert found[repo] == [out.text_embeds[0].tolist(), out.image_embeds[0].tolist()]
    assert re.search(r"(?s)pooling='attention'.*tbps 98\.0\.0 saved this checkpoint", found["version"])
    assert "pytorch_model.bin, a pickle" in found["pickle"]


def test_a_token_reaches_no_output_no_log_and_no_file(
    folder: Path, pushed: subprocess.CompletedProcess[str], trained: subprocess.CompletedProcess[str]
) -> None:
    assert "DEBUG" in trained.stderr  # there is a log to look through
    assert "hub_token=<HUB_TOKEN>" in trained.stdout
    for text in (pushed.stdout, pushed.stderr, trained.stdout, trained.stderr):
        assert TOKEN not in text
    files = [path for path in (folder / "trained").rglob("*") if path.is_file()]
    assert any(path.name == "training_args.bin" for path in files)
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
