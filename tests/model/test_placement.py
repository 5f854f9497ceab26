"""Offloaded weights, and weights that nothing trains, in every pair of towers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from PIL import Image
from tiny import TEXT_LENGTH, make_config, make_rows
from transformers import AutoConfig, AutoModel

from tbps import Gallery, TBPSConfig, TBPSModel, TBPSProcessor, TBPSTrainer, TBPSTrainingArguments

WIDTH = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = ("vit", "deit", "dinov2", "siglip_vision_model", "clip_vision_model")
TEXT = ("bert", "roberta", "xlm-roberta", "mpnet", "siglip_text_model", "clip_text_model")
PAIRS = [*((vision, "bert") for vision in VISION), *(("vit", text) for text in TEXT[1:])]
BATCH = {
    "input_ids": torch.tensor([[0, 5, 6, 1], [0, 7, 6, 1], [0, 5, 9, 1], [0, 5, 6, 1]]),
    "pixel_values": torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)),
    "person_ids": torch.tensor([0, 0, 1, 2]),
}


def two_towers(vision: str, text: str, **fields: Any) -> TBPSModel:
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = TBPSConfig(
        vision_config=AutoConfig.for_model(vision, **WIDTH, image_size=16, patch_size=4),
        text_config=AutoConfig.for_model(
            text, **WIDTH, **special, vocab_size=320, max_position_embeddings=TEXT_LENGTH + 2
        ),
        projection_dim=16,
        num_parts=2,
        part_dim=4,
        decoder_attention_heads=2,
        **{"special_token_ids": [0, 1], "num_identities": 3, **fields},
    )
    torch.manual_seed(0)
    return TBPSModel(config).eval()


@pytest.mark.parametrize("pooling", ["tower", "mean", "max"])
@pytest.mark.parametrize("pair", PAIRS)
def test_every_trained_parameter_gets_a_gradient(pair: tuple[str, str], pooling: str) -> None:
    """`DistributedDataParallel` would wait for one without."""
    model = two_towers(*pair, pooling=pooling).train()
    model(**BATCH).loss.backward()
    assert [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None] == []
    assert all(weight.grad is None for weight in model.parameters() if not weight.requires_grad)


def test_a_loaded_model_trains_the_towers_pooling_only_if_it_is_used(tmp_path: Path) -> None:
    two_towers("vit", "bert").save_pretrained(tmp_path)
    for pooling in ("tower", "mean"):
        model = AutoModel.from_pretrained(tmp_path, pooling=pooling)
        poolers = [weight.requires_grad for name, weight in model.named_parameters() if "_model.pooler." in name]
        assert poolers == [pooling == "tower"] * 4


def test_processes_do_not_wait_for_parameters_without_gradient(tmp_path: Path, tiny_processor: TBPSProcessor) -> None:
    arguments = TBPSTrainingArguments(str(tmp_path), use_cpu=True, activation_checkpointing=True)
    rows = make_rows(tmp_path / "images", people=6)
    trainer = TBPSTrainer(TBPSModel(make_config()), arguments, rows, processing_class=tiny_processor)
    assert trainer.accelerator.ddp_handler.find_unused_parameters


def on_cpu(model: TBPSModel, folder: Path) -> TBPSModel:
    return cpu_offload(model, execution_device="cpu")


def on_disk(model: TBPSModel, folder: Path) -> TBPSModel:
    return disk_offload(model, folder / "weights", execution_device="cpu")


def by_a_map(model: TBPSModel, folder: Path) -> TBPSModel:
    model.save_pretrained(folder / "model")
    least = {"device_map": "auto", "max_memory": {"cpu": 40_000}, "offload_folder": folder / "weights"}
    return AutoModel.from_pretrained(folder / "model", **least).eval()


OFFLOADS: list[Callable[[TBPSModel, Path], TBPSModel]] = [on_cpu, on_disk, by_a_map]
LAYERS = {"part_image_layer": 1, "part_image_key_layer": 2, "part_text_key_layer": 1}


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:The following device_map keys")
@pytest.mark.parametrize("offload", OFFLOADS)
@pytest.mark.parametrize("pair", [("vit", "bert"), ("siglip_vision_model", "siglip_text_model"),
                                  ("clip_vision_model", "clip_text_model")])  # fmt: skip
def test_offloaded_weights_give_the_same_vectors(pair: tuple[str, str], offload: Any, tmp_path: Path) -> None:
    for folder, fields in (("plain", {}), ("layers", LAYERS)):
        model = two_towers(*pair, **fields)
        expected = model(**BATCH, output_part_attentions=True)
        found = offload(two_towers(*pair, **fields), tmp_path / folder)(**BATCH, output_part_attentions=True)
        for name in ("text_embeds", "image_embeds", "image_part_attentions", "loss"):
            assert torch.equal(found[name], expected[name])


@pytest.mark.parametrize("offload", OFFLOADS[:2])
def test_an_offloaded_model_opens_a_gallery_of_the_same_model(
    offload: Any, tmp_path: Path, tiny_model: TBPSModel, tiny_processor: TBPSProcessor, pictures: list[Image.Image]
) -> None:
    gallery = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)
    gallery.add(pictures, progress=False)
    expected = gallery.search("a red coat", k=4)
    again = Gallery.open(tmp_path / "gallery", offload(tiny_model, tmp_path), tiny_processor)
    assert [hit.id for hit in again.search("a red coat", k=4)] == [hit.id for hit in expected]
