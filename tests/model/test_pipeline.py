"""`pipeline("text-based-person-search")`: the model's own scores, parts that sum to them, remote code, bad input."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, pipeline

from tbps import TBPSConfig, TBPSModel, TBPSProcessor, TextBasedPersonSearchPipeline

TASK = "text-based-person-search"


@pytest.fixture
def checkpoint(tmp_path: Path, model_factory: Callable[..., TBPSModel], tiny_processor: TBPSProcessor) -> Path:
    """A model and its processor, saved without the pipeline."""
    model_factory(text_part_weights=True, part_weight=0.4).save_pretrained(tmp_path / "model")
    tiny_processor.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def search(checkpoint: Path) -> TextBasedPersonSearchPipeline:
    return pipeline(TASK, model=str(checkpoint))


@pytest.fixture
def files(tmp_path: Path, pictures: list[Image.Image]) -> list[Path]:
    paths = [tmp_path / f"{position}.png" for position in range(len(pictures))]
    for path, image in zip(paths, pictures, strict=True):
        image.save(path)
    return paths


@torch.no_grad()
def test_scores_are_the_models_and_their_parts_add_up(
    search: TextBasedPersonSearchPipeline, pictures: list[Image.Image], sentences: list[str]
) -> None:
    answers = search(pictures, sentences, batch_size=3)
    batch = search.processor(text=sentences, images=pictures, padding=True, return_tensors="pt")
    out = search.model(**batch)
    scores = out.text_embeds @ out.image_embeds.T
    assert [[hit["index"] for hit in hits] for hits in answers] == scores.argsort(dim=1, descending=True).tolist()
    for row, hits in enumerate(answers):
        for hit in hits:
            column = hit["index"]
            cosines = (out.text_part_embeds[row] * out.image_part_embeds[column]).sum(dim=1)
            parts = 0.4 * out.text_part_weights[row] * cosines
            overall = 0.6 * out.text_global_embeds[row] @ out.image_global_embeds[column]
            assert hit["score"] == pytest.approx(scores[row, column].item(), abs=1e-5)
            assert hit["global_score"] == pytest.approx(overall.item(), abs=1e-5)
            assert hit["part_scores"] == pytest.approx(parts.tolist(), abs=1e-5)
            assert hit["global_score"] + sum(hit["part_scores"]) == pytest.approx(hit["score"], abs=1e-5)
            assert set(hit) == {"score", "global_score", "part_scores", "index"}


def test_one_query_gives_hits_and_several_give_a_list_each(
    search: TextBasedPersonSearchPipeline, pictures: list[Image.Image], sentences: list[str]
) -> None:
    hits = search(pictures, sentences[0], top_k=2)
    assert len(hits) == 2
    assert hits[0]["score"] >= hits[1]["score"]
    assert len(search(pictures, sentences[0])) == len(pictures)  # fewer than ten
    assert search(images=pictures, text=sentences[:1], top_k=2) == [hits]
    assert search(pictures[2], sentences[0])[0]["index"] == 0
    doubled = search([pictures[0], *pictures], sentences[0])
    places = [hit["index"] for hit in doubled]
    assert places.index(0) < places.index(1)  # the same image twice


def test_equal_images_have_equal_scores_in_the_order_given(search: TextBasedPersonSearchPipeline) -> None:
    torch.manual_seed(0)
    width = search.model.config.embedding_dim
    for count in (3, 17, 100):
        gallery = torch.randn(1, width).repeat(count, 1)
        hits = search.postprocess({"embeds": torch.randn(1, width)}, gallery, range(count), top_k=count)
        assert [hit["index"] for hit in hits] == list(range(count))
        assert len({hit["score"] for hit in hits}) == 1


def test_an_embedding_that_is_not_finite_is_an_error(search: TextBasedPersonSearchPipeline) -> None:
    gallery = torch.ones(3, search.model.config.embedding_dim)
    gallery[1, 2] = float("nan")
    with pytest.raises(ValueError, match="An embedding is not finite"):
        search.postprocess({"embeds": torch.ones(1, gallery.shape[1])}, gallery, range(3))


def test_images_are_embedded_once_for_several_queries(
    search: TextBasedPersonSearchPipeline,
    pictures: list[Image.Image],
    sentences: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    embed = search.model.get_image_features

    def counting(pixel_values: torch.Tensor) -> Any:
        seen.append(len(pixel_values))
        return embed(pixel_values)

    monkeypatch.setattr(search.model, "get_image_features", counting)
    search(pictures, sentences, batch_size=3)
    assert seen == [3, 1]
    search(pictures, sentences)
    assert seen == [3, 1, 4]


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address at which `tmp_path` is served by HTTP."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_every_kind_of_source_gives_the_same_image(
    search: TextBasedPersonSearchPipeline, files: list[Path], pictures: list[Image.Image], address: str
) -> None:
    encoded = base64.b64encode(files[0].read_bytes()).decode()
    sources = [pictures[0], str(files[0]), files[0], f"{address}/0.png", f"data:image/png;base64,{encoded}"]
    hits = sorted(search(sources, "a red bag"), key=lambda hit: hit["index"])
    assert len({round(hit["score"], 5) for hit in hits}) == 1
    assert "path" not in hits[0]
    assert [hit["path"] for hit in hits[1:4]] == [str(files[0]), str(files[0]), f"{address}/0.png"]
    with pytest.raises(ValueError, match=r"Image 1, 'http.*missing\.png', cannot be opened"):
        search([files[0], f"{address}/missing.png"], "a bag")


@pytest.mark.parametrize(
    ("images", "text", "options", "error", "message"),
    [
        ([], "a bag", {}, ValueError, "got no images"),
        (["nowhere.png"], "a bag", {}, ValueError, r"Image 0, 'nowhere\.png', cannot be opened"),
        (["GOOD", "BROKEN"], "a bag", {}, ValueError, r"Image 1, PosixPath.*broken\.png.*cannot be opened"),
        (["GOOD", 3], "a bag", {}, ValueError, r"Image 1, 3, cannot be opened \(cannot open int"),
        (["GOOD"], "", {}, ValueError, "Text 0 of 1 is ''"),
        (["GOOD"], ["a bag", " "], {}, ValueError, "Text 1 of 2 is ' '"),
        (["GOOD"], [], {}, ValueError, "got no queries"),
        (["GOOD"], ["a bag", 7], {}, TypeError, "Text 1 of 2 is 7: expected a string"),
        (["GOOD"], None, {}, TypeError, "text=None: expected a query or a sequence"),
        (["GOOD"], "a bag", {"top_k": 0}, ValueError, "top_k=0: expected 1 or more"),
        (["GOOD"], "a bag", {"top_k": 1.5}, TypeError, "top_k=1.5: expected an integer"),
        (["GOOD"], "a bag", {"topk": 1}, TypeError, "topk"),
    ],
)
def test_bad_input_is_named(
    search: TextBasedPersonSearchPipeline,
    files: list[Path],
    tmp_path: Path,
    images: list[Any],
    text: Any,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(files[0].read_bytes()[:60])
    known = {"GOOD": files[0], "BROKEN": broken}
    with pytest.raises(error, match=message):
        search([known.get(image, image) for image in images], text, **options)


def test_a_bad_query_is_refused_before_images_are_embedded(
    search: TextBasedPersonSearchPipeline, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.model, "get_image_features", lambda **kwargs: pytest.fail("embedded"))
    with pytest.raises(ValueError, match="Text 1"):
        search(pictures, ["a bag", ""])


def test_a_pipeline_needs_a_model_and_a_processor(
    tiny_model: TBPSModel, tiny_processor: TBPSProcessor, files: list[Path]
) -> None:
    with pytest.raises(ValueError, match="got no processor"):
        TextBasedPersonSearchPipeline(model=tiny_model)
    tiny = tiny_model.config
    clip = CLIPModel(CLIPConfig(text_config=tiny.text_config.to_dict(),
                                vision_config={**tiny.vision_config.to_dict(), "image_size": 32}))  # fmt: skip
    with pytest.raises(ValueError, match=r"got a CLIPModel .*expected a TBPSModel"):
        pipeline(TASK, model=clip, processor=tiny_processor)
    with pytest.raises(ValueError, match="top_k=0"):
        pipeline(TASK, model=tiny_model, processor=tiny_processor, top_k=0)
    search = pipeline(TASK, model=tiny_model.train(), processor=tiny_processor, top_k=1, batch_size=2)
    assert not tiny_model.training
    assert len(search(files, "a bag")) == 1
    assert len(search(files, "a bag", top_k=3)) == 3


REMOTE = """
import json, sys, torch
sys.modules["tbps"] = None  # any import of it fails
from transformers import pipeline
torch.set_num_threads(1)
saved, again, *files = sys.argv[1:]
search = pipeline(model=saved, trust_remote_code=True)  # the task is the one that config.json names
assert type(search).__module__.startswith("transformers_modules."), type(search)
search.save_pretrained(again)
search = pipeline("text-based-person-search", model=again, trust_remote_code=True)
print(json.dumps(search(files, ["a red bag", "a bag"])))
"""


def test_remote_code_in_a_process_without_tbps(
    search: TextBasedPersonSearchPipeline, checkpoint: Path, files: list[Path], tmp_path: Path
) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": ""}
    run = subprocess.run(
        [sys.executable, "-c", REMOTE, str(checkpoint), str(tmp_path / "again"), *map(str, files)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == search(files, ["a red bag", "a bag"])


def test_the_pipeline_saves_what_model_and_processor_save(
    search: TextBasedPersonSearchPipeline, checkpoint: Path, tmp_path: Path
) -> None:
    search.save_pretrained(tmp_path / "pipeline")
    saved = {path.name for path in (tmp_path / "pipeline").iterdir()}
    assert saved == {path.name for path in checkpoint.iterdir()}
    assert {"pipeline_tbps.py", "processor_config.json", "model.safetensors"} <= saved


def test_the_name_of_the_pipeline_is_not_a_setting(checkpoint: Path) -> None:
    written = json.loads((checkpoint / "config.json").read_text())
    assert written["custom_pipelines"] == {
        TASK: {"impl": "pipeline_tbps.TextBasedPersonSearchPipeline", "pt": ["AutoModel"]}
    }
    loaded = TBPSConfig.from_pretrained(checkpoint)
    assert not hasattr(loaded, "custom_pipelines")  # or transformers would ask for trust where tbps is installed
    assert "custom_pipelines" not in loaded.to_dict()  # which a gallery takes the fingerprint of
