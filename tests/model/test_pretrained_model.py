"""Checkpoints: bit-equal round trips, Auto classes, remote code without tbps, random weights, and damaged files."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor

from tbps import TBPSConfig, TBPSModel, TBPSProcessor

Factory = Callable[..., TBPSModel]


@pytest.fixture
def checkpoint(tmp_path: Path, model_factory: Factory, tiny_processor: TBPSProcessor) -> Path:
    model_factory(num_identities=5, text_part_weights=True, stem_channels=None).save_pretrained(tmp_path / "model")
    tiny_processor.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@torch.no_grad()
def test_save_and_load_are_bit_equal(
    checkpoint: Path, model_factory: Factory, tiny_processor: TBPSProcessor, pictures: list[Image.Image]
) -> None:
    model = model_factory(num_identities=5, text_part_weights=True)
    loaded = AutoModel.from_pretrained(checkpoint)
    assert type(loaded) is TBPSModel
    assert type(AutoConfig.from_pretrained(checkpoint)) is TBPSConfig
    assert model.state_dict().keys() == loaded.state_dict().keys()
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    processor = AutoProcessor.from_pretrained(checkpoint)
    assert type(processor) is TBPSProcessor
    assert type(AutoImageProcessor.from_pretrained(checkpoint)) is type(tiny_processor.image_processor)
    batches = [p(text=["a red bag", "a bag"], images=pictures, padding=True, return_tensors="pt")
               for p in (processor, tiny_processor)]  # fmt: skip
    assert all(torch.equal(batches[0][name], batches[1][name]) for name in batches[0])
    # equal weights at other addresses: kernels round in another order where memory-mapped ones are not aligned
    again = AutoModel.from_pretrained(checkpoint)
    made, first, second = (m.eval()(**batches[0]) for m in (model, loaded, again))
    for side in ("text_embeds", "image_embeds"):
        assert torch.equal(first[side], second[side])
        assert (first[side] - made[side]).abs().max() < 1e-6


def test_every_weight_missing_from_a_checkpoint_is_initialised(tmp_path: Path, model_factory: Factory) -> None:
    model_factory(text_part_weights=True).save_pretrained(tmp_path)
    kept = {n: t for n, t in load_file(tmp_path / "model.safetensors").items() if n.startswith("text_model.")}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for parameter in TBPSModel.from_pretrained(tmp_path).parameters():
        assert parameter.isfinite().all()
        assert parameter.abs().max() < 10


def test_new_and_missing_weights_are_drawn_from_the_same_distributions(model_factory: Factory) -> None:
    model = model_factory(stem_channels=None)
    config = model.config
    missing = TBPSModel.from_pretrained(None, config=config, state_dict={})
    width, layers = config.vision_config.hidden_size, config.vision_config.num_hidden_layers
    for drawn in (model, missing):
        # Glorot and Bengio's uniform for the decoder, CLIP's own for its towers: not the 0.02 of any other Linear
        expected = (2 / (5 * config.projection_dim)) ** 0.5
        assert drawn.part_decoder.layers[0].fc1.weight.std().item() == pytest.approx(expected, rel=0.1)
        tower = drawn.vision_model.encoder.layers[1].self_attn
        assert tower.q_proj.weight.std().item() == pytest.approx((width * 2 * layers) ** -0.5, rel=0.1)


REMOTE = """
import json, sys, torch
assert "tbps" not in sys.modules
try:
    import tbps
except ImportError:
    pass
else:
    raise SystemExit("tbps can be imported here: the test proves nothing")
from transformers import AutoModel, AutoProcessor
from PIL import Image
photo, *folders = sys.argv[1:]
torch.set_num_threads(1)  # as the tests: bit-equal needs the same split of sums
found = []
for folder in folders:
    model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    batch = processor(text=["a red bag"], images=[Image.open(photo)], return_tensors="pt")
    with torch.no_grad():
        out = model(**batch)
    found.append([out.text_embeds[0].tolist(), out.image_embeds[0].tolist()])
print(json.dumps(found))
"""


@torch.no_grad()
def test_remote_code_in_a_process_without_tbps(checkpoint: Path, tmp_path: Path, pictures: list[Image.Image]) -> None:
    photo = tmp_path / "photo.png"
    pictures[0].save(photo)
    script = tmp_path / "elsewhere" / "remote.py"
    script.parent.mkdir()
    script.write_text(REMOTE.replace("import tbps", "sys.modules['tbps'] = None; import tbps", 1))
    other = tmp_path / "other" / checkpoint.name  # of the same name, with code that does something else
    shutil.copytree(checkpoint, other)
    pooling = (other / "towers_tbps.py").read_text()
    changed = pooling.replace("return projection(output.pooler_output)", "return -projection(output.pooler_output)")
    assert changed != pooling
    (other / "towers_tbps.py").write_text(changed)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": ""}
    run = subprocess.run(
        [sys.executable, str(script), str(photo), str(checkpoint), str(other), str(checkpoint)],
        cwd=script.parent, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    (text, image), (_, image_by_other), again = json.loads(run.stdout.splitlines()[-1])
    assert again == [text, image]
    width = TBPSConfig.from_pretrained(checkpoint).projection_dim
    assert image_by_other[:width] == [-number for number in image[:width]]
    processor = AutoProcessor.from_pretrained(checkpoint)
    batch = processor(text=["a red bag"], images=[pictures[0]], return_tensors="pt")
    out = AutoModel.from_pretrained(checkpoint).eval()(**batch)
    assert out.text_embeds[0].tolist() == text
    assert out.image_embeds[0].tolist() == image


def test_another_number_of_people_starts_a_new_head(
    tmp_path: Path, model_factory: Factory, caplog: pytest.LogCaptureFixture, propagate: None
) -> None:
    model = model_factory(num_identities=5)
    model.save_pretrained(tmp_path / "model")
    loaded = AutoModel.from_pretrained(tmp_path / "model", num_identities=7)
    assert loaded.id_head.out_features == 7
    assert torch.equal(loaded.part_decoder.queries, model.part_decoder.queries)
    reports = [
        record.message for record in caplog.records if "id_head" in record.message or "head for" in record.message
    ]
    assert len(reports) == 1
    assert "head for 5 people, and the configuration asks for 7" in reports[0]


def test_the_scale_stays_fixed_when_a_checkpoint_is_loaded(tmp_path: Path, model_factory: Factory) -> None:
    model_factory().save_pretrained(tmp_path)
    assert not AutoModel.from_pretrained(tmp_path).logit_scale.requires_grad


def test_a_truncated_checkpoint_is_named(tmp_path: Path, model_factory: Factory) -> None:
    model_factory().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(OSError, match=r"are damaged .*Get the checkpoint again"):
        AutoModel.from_pretrained(tmp_path)


def test_weights_that_are_not_finite_are_named_at_load(tmp_path: Path, model_factory: Factory) -> None:
    model_factory().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["part_decoder.final_norm.weight"][3] = torch.nan
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"NaN or infinite weights in part_decoder\.final_norm\.weight"):
        AutoModel.from_pretrained(tmp_path)
