"""The study's measures against slow references: constants, words read, repainted people, scores, the weight on val."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from perfect_parts import perfect_parts
from safetensors.torch import save_file

from benchmarks.method import likeness
from benchmarks.method.cells import cell, difference
from benchmarks.method.localisation import localisation
from benchmarks.method.methods import METHODS
from benchmarks.method.parts import SEEN, Parts, text_batch
from benchmarks.method.regions import BODY, REPAINTED
from benchmarks.method.retrieval import measure, scores
from benchmarks.method.start import TOWER_NAMES, WEIGHTS, from_start, new_model
from benchmarks.method.statistics import spread
from tbps import TBPSProcessor
from tbps.evaluation.retrieval import SplitVectors


@pytest.fixture(scope="module")
def perfect() -> Parts:
    return perfect_parts()


def test_best_constants_are_those_of_a_search_over_all_places(perfect: Parts) -> None:
    found = localisation(perfect, {region: region for region in range(5)})
    for region in BODY:
        masks = [mask == region for mask in perfect.masks if (mask == region).sum() >= SEEN]
        height, width = masks[0].shape
        pixels = [np.mean([mask[y, x] for mask in masks]) for y in range(height) for x in range(width)]
        cells = [
            np.mean([mask[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].mean() for mask in masks])
            for row in range(height // 4)
            for column in range(width // 4)
        ]
        measured = found[region.name.lower()]
        assert measured["pointing_constant"] == pytest.approx(max(pixels))
        assert measured["inside_constant"] == pytest.approx(max(cells))


def test_a_part_reads_the_words_that_it_attends_to(tiny_processor: TBPSProcessor) -> None:
    """Part k looks at token k alone: of each region's words it reads all or nothing."""
    captions = [f"a person with a {coat} coat, blue trousers and a bag" for coat in ("red", "black")]
    marked = {"coat": BODY[1], "trousers": BODY[2], "bag": BODY[4]}
    spans = [tuple((c.index(w), c.index(w) + len(w), region) for w, region in marked.items()) for c in captions]
    tokens = tiny_processor.tokenizer(captions, padding=True, return_offsets_mapping=True)
    length = len(tokens["input_ids"][0])
    looking = torch.eye(length).expand(len(captions), length, length)
    model: Any = SimpleNamespace(
        get_text_features=lambda **inputs: SimpleNamespace(part_embeds=None, part_attentions=looking)
    )
    _, reading = text_batch(model, tiny_processor, captions, spans)
    for row, caption in enumerate(captions):
        for k, (start, end) in enumerate(tokens["offset_mapping"][row]):
            word = caption[start:end].strip()
            read = {region for name, region in marked.items() if word and word in name and start >= caption.index(name)
                    and end <= caption.index(name) + len(name)}  # fmt: skip
            assert {region for region in BODY if reading[row, k, BODY.index(region)]} == read
    assert (reading.sum(axis=1)[:, [1, 2, 4]] > 0).all()


@pytest.mark.parametrize(("assignment", "expected"), [([0, 1, 2, 3, 4], 1.0), ([1, 0, 3, 4, 5], 0.0)])
def test_the_part_of_a_repainted_region_moves_most(
    perfect: Parts, monkeypatch: pytest.MonkeyPatch, assignment: list[int], expected: float
) -> None:
    """Drawing again is replaced by a note of what changes, and embedding by parts that turn where something does."""
    regions = {attribute: BODY.index(region) for region, attribute in REPAINTED.items()}
    numbered = Parts(**{**vars(perfect), "file_paths": [str(row) for row in range(len(perfect.people))]})

    def note(truth: Any, file_path: str, **changes: str) -> tuple[tuple[int, int]]:
        ((attribute, colour),) = changes.items()
        assert colour != getattr(perfect.people[int(file_path)], attribute)
        return ((int(file_path), regions[attribute]),)

    def embed(model: Any, processor: Any, pictures: list[tuple[int, int]]) -> tuple[torch.Tensor, None]:
        rows = [row for row, _ in pictures]
        parts = F.normalize(perfect.image_parts[rows] + 0.01, dim=-1)  # all move a little
        for i, (_, region) in enumerate(pictures):
            parts[i, region] *= -1
        return parts, None

    monkeypatch.setattr(likeness, "rerender", note)
    monkeypatch.setattr(likeness, "image_batch", embed)
    unused: Any = None
    found = likeness.counterfactual(unused, unused, numbered, dict(enumerate(assignment)), unused)
    assert found == dict.fromkeys(range(5), expected)


def split_of(by_global: torch.Tensor, by_parts: torch.Tensor, weight: float) -> SplitVectors:
    """Queries whose cosines to the images are given, of the global embedding and of the one part: (T, I) each."""
    count = by_global.shape[1]
    texts = torch.cat([(1 - weight) ** 0.5 * by_global, weight**0.5 * by_parts], dim=1)
    images = torch.cat([(1 - weight) ** 0.5 * torch.eye(count), weight**0.5 * torch.eye(count)], dim=1)
    return SplitVectors(texts, images, torch.arange(len(texts)), torch.arange(count))


def test_the_weight_of_the_parts_is_the_best_on_val() -> None:
    model: Any = SimpleNamespace(config=SimpleNamespace(projection_dim=4, part_weight=0.25))
    right, wrong = 0.4 * torch.eye(4), 0.4 * torch.eye(4).roll(1, dims=1)
    good_global, good_parts = split_of(right, 0.8 * wrong, 0.25), split_of(1.1 * wrong, right, 0.25)
    by_global, by_parts = scores(model, good_global)
    assert torch.allclose(by_global, right)
    assert torch.allclose(by_parts, 0.8 * wrong)
    for val, test, weights in ((good_global, good_parts, (0.2, 0.5)), (good_parts, good_global, (0.6, 0.8))):
        found = measure(model, {"val": val, "test": test})
        assert weights[0] <= found["part_weight"] <= weights[1]
        assert found["val"]["whole"]["rank_1"] == 1
        assert found["test"]["whole"]["rank_1"] == 0
        assert found["by_part_weight"][str(found["part_weight"])] == {"val": 1, "test": 0}


def test_cells_say_mean_interval_deviation_and_seeds() -> None:
    assert difference(spread([1.0, 2.0, 3.0])) == "+2.0 ± 2.5 (1.0; 3)"
    assert difference(spread([-1.0])) == "-1.0 (1)"
    assert difference(None) == cell([], 1) == "-"
    assert cell([1.0, 2.0, 4.0], 1) == "2.3 ± 1.5"


def test_all_methods_start_from_the_weights_of_the_checkpoint(tmp_path: Path, tiny_processor: TBPSProcessor) -> None:
    settings = METHODS["fixed_margin"].settings
    tower = "vision_model.encoder.layers.0.self_attn.q_proj.weight"
    tiny_processor.tokenizer.save_pretrained(tmp_path)
    state = new_model(tiny_processor.tokenizer, settings).state_dict()
    names = [name for name in state if name.startswith(TOWER_NAMES)]
    assert tower in names
    generator = torch.Generator().manual_seed(0)
    towers = {name: torch.randn(state[name].shape, generator=generator).to(state[name].dtype) for name in names}
    save_file(towers, tmp_path / WEIGHTS)
    models = [from_start(tmp_path, settings, 5, seed) for seed in (1, 2)]
    for name, value in towers.items():
        assert all(torch.equal(model.state_dict()[name], value) for model in models), name
    queries = [model.part_decoder.queries for model in models]
    assert not torch.equal(*queries)  # what is new is drawn from the seed
