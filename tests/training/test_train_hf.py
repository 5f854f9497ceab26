"""The training program on a tiny ToyPEDES: from scratch, from CLIP, from a checkpoint, resumed."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from hub_server import log_in, running_hub
from huggingface_hub import ModelCard
from tiny import make_config
from tiny_recipe import recipe
from transformers import AutoModel, AutoProcessor, CLIPConfig, CLIPModel

import train_hf
from tbps.cli.main import main as tbps_command
from tbps.data.benchmarks import BENCHMARKS
from tbps.data.images import BadImageError
from tbps.data.loading import load_benchmark
from tbps.data.toypedes import generate
from tbps.evaluation.retrieval import evaluate_retrieval
from tbps.training.recipe import RecipeError

RECIPES = Path(train_hf.__file__).parent / "recipes"


def test_from_scratch_to_a_checkpoint_that_evaluates_the_same(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = train_hf.main([recipe(tmp_path, data)])
    printed = capsys.readouterr().out
    assert "ToyPEDES, seed 1" in printed
    assert f"{100 * results['test_rank_1']:.2f}" in printed
    output = tmp_path / "run"
    assert json.loads((output / "results.json").read_text()) == results
    assert results["selected_on"] == "val"
    history = json.loads((output / "log_history.json").read_text())
    best = max(entry["eval_rank_1"] for entry in history if "eval_rank_1" in entry)
    assert results["val_rank_1"] == best
    model, processor = AutoModel.from_pretrained(output).eval(), AutoProcessor.from_pretrained(output)
    assert model.config.num_identities == 0
    assert processor.tokenizer.model_max_length == 48
    again = evaluate_retrieval(model, processor, load_benchmark("ToyPEDES", data)["test"], progress=False)
    assert {f"test_{name}": value for name, value in again.items()} == pytest.approx(
        {name: results[name] for name in results if name.startswith("test_")}
    )
    assert tbps_command(["evaluate", str(output), "ToyPEDES", str(data), "--split", "val"]) == 0


def test_a_run_is_pushed_with_what_it_measured(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_hub() as hub:
        log_in(hub, monkeypatch)
        path = recipe(tmp_path, data, hub_model_id="someone/toy", num_train_epochs=1)
        results = train_hf.main([path, "--push_to_hub", "true"])
        files = hub.store.repository("someone/toy").files("main")
        card = ModelCard(files["README.md"].decode())
        found = {(entry.dataset_split, entry.metric_type): entry.metric_value for entry in card.data.eval_results}
        names = ("rank_1", "rank_5", "rank_10", "mAP", "mINP")
        assert found == {(split, name): results[f"{split}_{name}"] for split in ("val", "test") for name in names}
        assert card.data.datasets == ["ToyPEDES"]
        for stated in ("Trained on rendered data", "from random weights", "| per_device_train_batch_size | 14 |",
                       "selected by its result on val"):  # fmt: skip
            assert stated in card.text
        assert str(tmp_path) not in str(card)
        assert (tmp_path / "run" / "README.md").read_text() == files["README.md"].decode()
        assert tbps_command(["push", str(tmp_path / "run"), "someone/copy"]) == 0  # results fit the model as reloaded
        copy = hub.store.repository("someone/copy").files("main")
        assert copy["model.safetensors"] == files["model.safetensors"]
        checkpoint = next((tmp_path / "run").glob("checkpoint-*"))
        assert tbps_command(["push", str(checkpoint), "someone/step"]) == 0
        assert "No evaluation" in hub.store.repository("someone/step").files("main")["README.md"].decode()


def test_resume_true_starts_afresh_or_goes_on(tmp_path: Path, data: Path) -> None:
    path = recipe(tmp_path, data, num_train_epochs=1, do_predict=False)
    train_hf.main([path, "--resume_from_checkpoint", "true"])  # nothing there yet
    before = sorted(p.name for p in (tmp_path / "run").glob("checkpoint-*"))
    assert before == ["checkpoint-4"]
    results = train_hf.main([path, "--resume_from_checkpoint", "true", "--num_train_epochs", "2"])
    assert (tmp_path / "run" / "checkpoint-8").is_dir()
    assert "test_rank_1" not in results
    results = train_hf.main([path, "--load_best_model_at_end", "false"])
    assert results["best_checkpoint"] is None
    assert "none was selected" in (tmp_path / "run" / "README.md").read_text()


def make_clip(folder: Path, data: Path) -> None:
    """A CLIP checkpoint of random weights, 32x32 pixels, with a tokenizer of the data's words."""
    tiny = make_config(text_config={"model_type": "clip_text_model", "vocab_size": 49408, "hidden_size": 16,
                                    "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                                    "projection_dim": 24})  # fmt: skip
    vision = {**tiny.vision_config.to_dict(), "image_size": 32, "projection_dim": 24}
    torch.manual_seed(0)
    clip = CLIPModel(CLIPConfig(vision_config=vision, text_config=tiny.text_config.to_dict(), projection_dim=24))
    folder.mkdir()
    train_hf.main([recipe(folder, data, do_train=False, do_predict=False)])
    clip.save_pretrained(folder)
    AutoProcessor.from_pretrained(folder / "run").tokenizer.save_pretrained(folder)


def test_from_clip_and_on_from_a_checkpoint(tmp_path: Path, data: Path) -> None:
    make_clip(tmp_path / "clip", data)
    fields = {"part_weight": 0.3, "decoder_attention_heads": 2, "num_parts": 2, "part_dim": 4}
    path = recipe(tmp_path, data, clip_checkpoint=str(tmp_path / "clip"), image_size=[48, 24], model_config=fields,
                  num_train_epochs=1)  # fmt: skip
    train_hf.main([path])
    model = AutoModel.from_pretrained(tmp_path / "run")
    assert model.config.image_size == (48, 24)
    assert model.config.part_weight == 0.3
    path = recipe(tmp_path, data, model_name_or_path=str(tmp_path / "run"), model_config={"part_weight": 0.1},
                  output_dir=str(tmp_path / "more"), num_train_epochs=1)  # fmt: skip
    train_hf.main([path])
    assert AutoModel.from_pretrained(tmp_path / "more").config.part_weight == 0.1


def test_a_corpus_is_trained_on_in_the_place_of_the_train_split(tmp_path: Path, data: Path) -> None:
    people = json.loads((data / "ToyPEDES" / "reid_raw.json").read_text())
    entries = [
        {"image": row["file_path"], "caption": row["captions"][0], "image_id": row["id"]}
        for row in people
        if row["split"] == "train"
    ]
    (tmp_path / "toy.json").write_text(json.dumps(entries))
    images, shards = data / "ToyPEDES" / "imgs", tmp_path / "shards"
    assert (
        tbps_command(["data", "shard", "mals", str(tmp_path / "toy.json"), str(shards), "--images", str(images)]) == 0
    )
    path = recipe(tmp_path, data, corpus=str(shards), max_steps=4, eval_strategy="steps", eval_steps=2,
                  save_strategy="steps", save_steps=2)  # fmt: skip
    results = train_hf.main([path])
    assert results["corpus"] == "mals"
    history = json.loads((tmp_path / "run" / "log_history.json").read_text())
    best = max(entry["eval_rank_1"] for entry in history if "eval_rank_1" in entry)
    assert results["val_rank_1"] == best
    assert history[-1]["epoch"] == pytest.approx(4 * 14 / len(entries))
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert card.data.datasets == ["mals"]
    assert "Trained on the corpus mals, from random weights" in card.text
    assert "**Evaluated on rendered data.**" in card.text
    assert AutoModel.from_pretrained(tmp_path / "run").config.num_identities == 0
    with pytest.raises(ValueError, match="One pass over its 28 images is 2 steps of 14"):
        train_hf.main([path, "--max_steps", "-1"])


def benchmark_like(folder: Path, data: Path, name: str) -> None:
    """The people of `data` in the files of another benchmark."""
    benchmark = BENCHMARKS[name]
    (folder / benchmark.folder).mkdir(parents=True)
    (folder / benchmark.folder / "imgs").symlink_to(data / "ToyPEDES" / "imgs")
    entries = json.loads((data / "ToyPEDES" / "reid_raw.json").read_text())
    for entry in entries:
        entry[benchmark.path_key] = entry.pop("file_path")
        entry["split"] = entry["split"] if entry["split"] in benchmark.splits else "train"
    (folder / benchmark.folder / benchmark.annotations[0]).write_text(json.dumps(entries))


@pytest.mark.parametrize("name", ["CUHK-PEDES", "ICFG-PEDES", "RSTPReid"])
def test_benchmark_recipes_run_on_files_of_their_benchmark(tmp_path: Path, data: Path, name: str) -> None:
    """Run them unchanged except for model size, epochs and device."""
    benchmark_like(tmp_path / "data", data, name)
    make_clip(tmp_path / "clip", data)
    shipped = yaml.safe_load((RECIPES / f"{name.lower().replace('-', '_')}.yaml").read_text())
    fields = {**shipped["model_config"], "decoder_attention_heads": 2, "num_parts": 2, "part_dim": 4}
    changes = {"clip_checkpoint": str(tmp_path / "clip"), "image_size": [48, 24], "model_config": fields,
               "root": str(tmp_path / "data"), "output_dir": str(tmp_path / "run"), "num_train_epochs": 1,
               "per_device_train_batch_size": 14, "use_cpu": True, "disable_tqdm": True, "logging_steps": 1,
               "dataloader_num_workers": 0, "dataloader_pin_memory": False}  # fmt: skip
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({**shipped, **changes}))
    results = train_hf.main([str(tmp_path / "small.yaml")])
    assert results["selected_on"].startswith("val")
    scale = AutoModel.from_pretrained(tmp_path / "run").logit_scale.item()
    assert scale == pytest.approx(shipped["model_config"]["logit_scale_init_value"])  # not CLIP's own
    assert 0 <= results["test_rank_1"] <= 1
    logged = json.loads((tmp_path / "run" / "log_history.json").read_text())
    terms = {term for entry in logged for term in entry if term.startswith("loss_")}
    assert terms == {"loss_global", "loss_id", "loss_part_matching", "loss_part_independence", "loss_cmr"}
    card = ModelCard.load(tmp_path / "run" / "README.md")  # these people are none of the benchmark's
    assert (card.data.eval_results, card.data.datasets, card.data.license) == (None, None, None)
    assert f"Not comparable with results on {name}" in card.text


def test_a_broken_test_image_costs_no_training(tmp_path: Path) -> None:
    generate(tmp_path / "data", people=20, images_per_person=2, workers=1, progress=False)
    row = load_benchmark("ToyPEDES", tmp_path / "data")["test"]["file_path"][0]
    (tmp_path / "data" / "ToyPEDES" / "imgs" / row).write_bytes(b"broken")
    with pytest.raises(BadImageError, match=row):
        train_hf.main([recipe(tmp_path, tmp_path / "data", num_train_epochs=1)])
    assert AutoModel.from_pretrained(tmp_path / "run").config.num_identities == 0
    assert "val_rank_1" in json.loads((tmp_path / "run" / "results.json").read_text())


def test_what_does_not_fit_is_named_before_training(tmp_path: Path, data: Path) -> None:
    with pytest.raises(ValueError, match="batch of 500 pairs is larger than the training split of 56"):
        train_hf.main([recipe(tmp_path, data, per_device_train_batch_size=500)])
    with pytest.raises(RecipeError, match=r"model_config has unknown keys: num_prats\. Did you mean num_parts"):
        train_hf.main([recipe(tmp_path, data, model_config={"num_prats": 3})])
    with pytest.raises(RecipeError, match=r"model_config has decoder_dropout: TBPSConfig no longer has such a field"):
        train_hf.main([recipe(tmp_path, data, model_config={"decoder_dropout": 0.1})])
    train_hf.main([recipe(tmp_path, data, do_train=False, do_predict=False)])
    other = recipe(tmp_path, data, model_name_or_path=str(tmp_path / "run"), model_config={"num_parts": 4})
    with pytest.raises(ValueError, match=r"part_decoder\.place_bias of size \(3, 8\).* asks for \(4, 8\)"):
        train_hf.main([other])
