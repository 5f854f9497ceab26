"""Configuration and checkpoints: round trips, Auto classes, remote code without tbps, CLIP towers adapted."""

import json
import math
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
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor, CLIPConfig, CLIPModel

from tbps import TBPSConfig, TBPSModel, TBPSProcessor

Factory = Callable[..., TBPSModel]


def without_bookkeeping(config: TBPSConfig) -> dict:
    """What a configuration says, less the names that saving writes into it."""
    found = config.to_dict()
    for name in ("transformers_version", "architectures", "dtype", "auto_map", "_name_or_path"):
        found.pop(name, None)
    for sub in ("vision_config", "text_config"):
        for name in ("transformers_version", "architectures", "dtype", "_name_or_path"):
            found[sub].pop(name, None)
    return found


def test_config_round_trip(tmp_path: Path, model_factory: Factory) -> None:
    config = model_factory(stem_channels=None, part_weight=0.25).config
    config.save_pretrained(tmp_path)
    loaded = TBPSConfig.from_pretrained(tmp_path)
    assert without_bookkeeping(loaded) == without_bookkeeping(config)
    again = TBPSConfig.from_dict(loaded.to_dict())
    assert again.to_dict() == loaded.to_dict()
    changed = TBPSConfig.from_pretrained(tmp_path, text_config={"vocab_size": 20})
    assert changed.text_config.vocab_size == 20
    assert changed.text_config.hidden_size == config.text_config.hidden_size
    assert changed.vision_config.to_dict() == loaded.vision_config.to_dict()
    text = type(config.text_config).from_pretrained(tmp_path)
    assert text.hidden_size == config.text_config.hidden_size


def test_every_setting_is_written_as_defaults_may_change(tmp_path: Path, model_factory: Factory) -> None:
    config = model_factory().config
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["part_image_layer"] is None
    assert written["cmr_margin"] == TBPSConfig().cmr_margin
    assert TBPSConfig.__annotations__.keys() - {"vision_config", "text_config"} <= written.keys()


def test_default_config_is_clip_at_384x128(recwarn: pytest.WarningsRecorder) -> None:
    config = TBPSConfig()
    assert config.image_size == (384, 128)
    assert config.patch_grid == (24, 8)
    assert config.embedding_dim == 1024
    assert not recwarn.list


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"part_weight": 1.0}, "part_weight=1.0: expected 0 <= part_weight < 1"),
        ({"num_parts": 0}, "num_parts=0: expected 1 or more"),
        ({"projection_dim": 30, "decoder_attention_heads": 4}, "projection_dim=30 is not a multiple"),
        ({"global_loss": "triplet"}, "global_loss='triplet': expected one of sdm, itc"),
        ({"commonality": "guess"}, "commonality='guess': expected one of none, mean_similarity"),
        ({"cmr_margin": 0.1, "cmr_margin_floor": 0.2}, "cmr_margin_floor=0.2 is above cmr_margin=0.1"),
        ({"num_identities": -1}, "num_identities=-1"),
        ({"cmr_loss_weight": -1.0}, "cmr_loss_weight=-1.0: expected 0"),
        ({"id_loss_weight": math.nan}, "id_loss_weight=nan: expected 0"),
        ({"cmr_margin": math.inf}, "cmr_margin=inf: expected a finite number"),
        ({"part_stripes": 9}, "part_stripes=9: expected 0 to num_parts=8"),
    ],
)
def test_config_names_the_bad_value(fields: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=message):
        TBPSConfig(**fields)
    TBPSConfig().save_pretrained(tmp_path)
    with pytest.raises(Exception, match=message):  # given over those of a checkpoint
        TBPSConfig.from_pretrained(tmp_path, **fields)


def test_published_clip_end_id_is_corrected() -> None:
    text = {"model_type": "clip_text_model", "vocab_size": 49408, "eos_token_id": 2, "bos_token_id": 0}
    config = TBPSConfig(text_config=text)
    assert config.text_config.eos_token_id == 49407
    assert config.masked_token_ids == [49406, 49407]


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
picture, *folders = sys.argv[1:]
torch.set_num_threads(1)  # as the tests: bit-equal needs the same split of sums
found = []
for folder in folders:
    model = AutoModel.from_pretrained(folder, trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    batch = processor(text=["a red bag"], images=[Image.open(picture)], return_tensors="pt")
    with torch.no_grad():
        out = model(**batch)
    found.append([out.text_embeds[0].tolist(), out.image_embeds[0].tolist()])
print(json.dumps(found))
"""


@torch.no_grad()
def test_remote_code_in_a_process_without_tbps(checkpoint: Path, tmp_path: Path, pictures: list[Image.Image]) -> None:
    picture = tmp_path / "picture.png"
    pictures[0].save(picture)
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
        [sys.executable, str(script), str(picture), str(checkpoint), str(other), str(checkpoint)],
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


# -- towers from CLIP


@pytest.fixture
def clip(tmp_path: Path, model_factory: Factory) -> Path:
    """A tiny random CLIP of 32x32 pixels, with unequal tower widths, on disk."""
    tiny = model_factory().config
    vision = {**tiny.vision_config.to_dict(), "image_size": 32, "projection_dim": 24}
    text = {**tiny.text_config.to_dict(), "projection_dim": 24}
    torch.manual_seed(1)
    CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=24)).save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


@torch.no_grad()
def test_clip_towers_give_clip_embeddings(clip: Path) -> None:
    model = TBPSModel.from_vision_text_pretrained(clip, num_parts=2, part_dim=4, decoder_attention_heads=2).eval()
    source = CLIPModel.from_pretrained(clip).eval()
    assert model.config.part_weight == 0
    ids, pixels = torch.tensor([[0, 9, 8, 1]]), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = source(input_ids=ids, pixel_values=pixels)
    out = model(input_ids=ids, pixel_values=pixels)
    assert (out.text_global_embeds - expected.text_embeds).abs().max() < 1e-5
    assert (out.image_global_embeds - expected.image_embeds).abs().max() < 1e-5
    assert (out.logits_per_text - expected.logits_per_text).abs().max() < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_clip_position_table_is_resized_once(clip: Path, tmp_path: Path, interpolation: str) -> None:
    model = TBPSModel.from_vision_text_pretrained(
        clip, image_size=(48, 16), interpolation=interpolation, decoder_attention_heads=2
    )
    source = CLIPModel.from_pretrained(clip)
    old = source.vision_model.embeddings.position_embedding.weight
    new = model.vision_model.embeddings.position_embedding.weight
    assert new.shape == (6 * 2 + 1, 32)
    assert torch.equal(new[0], old[0])
    grid = old[1:].T.reshape(1, 32, 4, 4)
    expected = torch.nn.functional.interpolate(grid, (6, 2), mode=interpolation, align_corners=False)
    assert torch.allclose(new[1:], expected[0].flatten(1).T)
    model.save_pretrained(tmp_path / "adapted")
    loaded = TBPSModel.from_pretrained(tmp_path / "adapted")
    assert loaded.config.image_size == (48, 16)
    assert torch.equal(loaded.vision_model.embeddings.position_embedding.weight, new)


def test_two_towers_and_a_tower_without_text(clip: Path, tmp_path: Path) -> None:
    source = CLIPModel.from_pretrained(clip)
    source.vision_model.save_pretrained(tmp_path / "vision")
    source.text_model.save_pretrained(tmp_path / "text")
    model = TBPSModel.from_vision_text_pretrained(
        tmp_path / "vision", tmp_path / "text", projection_dim=8, decoder_attention_heads=2
    )
    assert torch.equal(model.vision_model.post_layernorm.weight, source.vision_model.post_layernorm.weight)
    assert torch.equal(model.text_model.final_layer_norm.weight, source.text_model.final_layer_norm.weight)
    with pytest.raises(ValueError, match="has no text tower: give the text tower's checkpoint"):
        TBPSModel.from_vision_text_pretrained(tmp_path / "vision")


def test_an_image_size_that_patches_do_not_fill_is_named(clip: Path) -> None:
    with pytest.raises(ValueError, match=r"image_size=\(50, 30\).*must be a multiple of the patch size \(8, 8\)"):
        TBPSModel.from_vision_text_pretrained(clip, image_size=(50, 30))
