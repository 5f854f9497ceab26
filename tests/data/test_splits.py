"""Splits: held-out identities, captions and person ids of the rows; bad values are named."""

import json
from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BatchFeature

from tbps import TBPSModel, TBPSProcessor
from tbps.data.pairs import PersonPairs
from tbps.data.splits import captions_of, hold_out_identities, parse_captions, person_ids_of
from tbps.evaluation.encoding import encode_texts
from tbps.evaluation.metrics import RetrievalMetrics, id_vector, retrieval_metrics
from tbps.evaluation.retrieval import embed_split, evaluate_retrieval
from tbps.gallery.calibration import calibrate
from tbps.training.build import from_scratch
from tbps.training.tokenizer import train_tokenizer

Factory = Callable[..., TBPSModel]


def with_column(rows: datasets.Dataset, name: str, values: Any) -> datasets.Dataset:
    other = datasets.Dataset.from_dict({name: values})
    return datasets.concatenate_datasets([rows.remove_columns(name), other], axis=1)


def test_one_text_is_one_caption_in_training_evaluation_and_the_vocabulary(
    rows: datasets.Dataset, tiny_model: TBPSModel, tiny_processor: TBPSProcessor
) -> None:
    first = [captions[0] for captions in rows["captions"]]
    lists = with_column(rows, "captions", [[caption] for caption in first])
    texts = with_column(rows, "captions", first)
    assert isinstance(texts[0]["captions"], str)
    expected, found = (PersonPairs(made, tiny_processor) for made in (lists, texts))
    assert len(found) == len(expected) == len(rows)
    assert [found[i]["input_ids"] for i in range(len(rows))] == [expected[i]["input_ids"] for i in range(len(rows))]
    vectors, others = (embed_split(tiny_model, tiny_processor, made, progress=False) for made in (lists, texts))
    assert all(map(torch.equal, vectors, others))
    fields = {"vision_config": {"hidden_size": 32, "num_attention_heads": 4, "image_size": [32, 16], "patch_size": 8},
              "text_config": {"hidden_size": 16, "num_attention_heads": 2, "max_position_embeddings": 24},
              "projection_dim": 24, "num_parts": 2, "part_dim": 4}  # fmt: skip
    vocabularies = [from_scratch(100, made, fields)[1].tokenizer.get_vocab() for made in (lists, texts)]
    assert vocabularies[0] == vocabularies[1]
    assert "coat" in vocabularies[1]
    assert torch.equal(
        encode_texts(tiny_model, tiny_processor, "bag", progress=False),
        encode_texts(tiny_model, tiny_processor, ["bag"], progress=False),
    )
    with pytest.raises(ValueError, match="must be several texts"):
        train_tokenizer("a red coat", 100)


@given(st.lists(st.one_of(st.text(), st.none(), st.integers(), st.binary(), st.lists(st.text())), max_size=3))
@settings(deadline=None, max_examples=100)
def test_captions_are_texts_that_are_not_blank(value: list[Any]) -> None:
    if all(isinstance(caption, str) and caption.strip() for caption in value):
        assert parse_captions(value, "row 3") == value
    else:
        with pytest.raises(ValueError, match=r"Caption \d of row 3 is .*: expected words"):
            parse_captions(value, "row 3")


@pytest.mark.parametrize("value", [None, 3, b"a red coat", {"en": "a red coat"}])
def test_a_cell_that_holds_no_captions_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match=r"captions of row 3 are .*: expected a list of texts"):
        parse_captions(value, "row 3")


@given(st.lists(st.text(st.characters(exclude_characters="'\"\\"), min_size=1).filter(str.strip), max_size=3))
def test_a_text_that_spells_a_list_is_not_a_caption(captions: list[str]) -> None:
    for text in (repr(captions), json.dumps(captions), f" {json.dumps(captions, indent=1)}\n"):
        for value in (text, [text]):
            with pytest.raises(ValueError, match=r"Caption 0 of row 3 is a text that spells a list"):
                parse_captions(value, "row 3")
    assert parse_captions("a man [seen twice] in red", "row 3") == ["a man [seen twice] in red"]


def test_rows_without_any_caption_are_named(
    rows: datasets.Dataset, tiny_model: TBPSModel, tiny_processor: TBPSProcessor
) -> None:
    bare = rows.remove_columns("captions").add_column("captions", [[] for _ in rows])
    for call in (PersonPairs, lambda *given: evaluate_retrieval(tiny_model, given[1], given[0], progress=False)):
        with pytest.raises(ValueError, match=r"None of the 12 rows has a caption"):
            call(bare, tiny_processor)


BAD_IDS = {
    "texts": ["0001"] * 12,
    "fractions": [1.5] * 12,
    "missing": [1, None] * 6,
    "truth": [True, False] * 6,
    "65 bits": np.asarray([1] * 11 + [2**63], dtype=np.uint64),
    "lists": [[1]] * 12,
}


@pytest.mark.parametrize("kind", BAD_IDS)
def test_bad_ids_are_named_wherever_rows_are_read(
    kind: str, rows: datasets.Dataset, tiny_model: TBPSModel, tiny_processor: TBPSProcessor
) -> None:
    bad = with_column(rows, "person_id", BAD_IDS[kind])
    for call in (
        lambda: PersonPairs(bad, tiny_processor),
        lambda: evaluate_retrieval(tiny_model, tiny_processor, bad, progress=False),
        lambda: calibrate(tiny_model, tiny_processor, bad, progress=False),
    ):
        with pytest.raises(ValueError, match=r"person_id of row \d+ is .*: expected a 64-bit integer"):
            call()


def test_missing_columns_are_named(rows: datasets.Dataset, tiny_processor: TBPSProcessor) -> None:
    with pytest.raises(ValueError, match=r"no column captions, only .*person_id"):
        PersonPairs(rows.rename_column("captions", "caption"), tiny_processor)
    with pytest.raises(ValueError, match="no column person_id"):
        person_ids_of(rows.remove_columns("person_id"))
    assert captions_of(rows)[0] == rows[0]["captions"]
    assert person_ids_of(rows).tolist() == rows["person_id"][:]


# -- numbers of people in metrics and losses


@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(0, 5)), min_size=1, max_size=5))
@settings(deadline=None, max_examples=50)
def test_an_id_vector_keeps_every_number(ids: list[int]) -> None:
    for given_as in (ids, tuple(ids), np.asarray(ids, dtype=np.int64), torch.tensor(ids, dtype=torch.int64)):
        assert id_vector(given_as, "query_person_ids").tolist() == ids


ODD = [[1.0], [True], ["a"], [None], [2**63], [[1]], 3, "12", None, [1j], torch.tensor([1.0]), torch.tensor([True]),
       torch.tensor([2**63], dtype=torch.uint64), torch.tensor([[1]]), torch.tensor(1)]  # fmt: skip


@pytest.mark.parametrize("ids", ODD, ids=repr)
def test_bad_id_vectors_are_named(ids: Any, model_factory: Factory, batch: BatchFeature) -> None:
    vector = torch.ones(1, 2)
    for call in (
        lambda: RetrievalMetrics(ids),
        lambda: retrieval_metrics(vector, vector, ids, torch.tensor([1])),
        lambda: retrieval_metrics(vector, vector, torch.tensor([1]), ids),
    ):
        with pytest.raises(ValueError, match="expected a vector of integer person ids"):
            call()
    if not isinstance(ids, torch.Tensor) and ids is not None:
        with pytest.raises(ValueError, match=rf"person_ids must be a LongTensor .*; got {type(ids).__name__}"):
            model_factory()(**batch, person_ids=ids)
    elif isinstance(ids, torch.Tensor) and ids.dtype in (torch.float32, torch.bool):
        with pytest.raises(ValueError, match="person_ids of torch"):
            model_factory()(**batch, person_ids=ids.expand(4))


def test_ids_without_a_class_of_the_instance_loss_are_named(model_factory: Factory, batch: BatchFeature) -> None:
    model = model_factory(num_identities=3).train()
    for ids in ([0, 1, 2, 3], [-1, 0, 1, 2], [0, 1, 2, 2**62]):
        with pytest.raises(ValueError, match=r"num_identities=3 classes: expected 0 to num_identities - 1"):
            model(**batch, person_ids=torch.tensor(ids))
    for dtype in (torch.int32, torch.uint8, torch.int64):
        model(**batch, person_ids=torch.tensor([0, 1, 2, 2], dtype=dtype)).loss.backward()
    assert model.eval()(**batch, person_ids=torch.tensor([-7, 1, 2, 2**62])).loss.isfinite()


def people(count, images_each=3):
    return Dataset.from_dict({"person_id": [i // images_each for i in range(count * images_each)]})


def test_hold_out_identities_is_disjoint_and_deterministic():
    dataset = people(40)
    train, held_out = hold_out_identities(dataset, 0.1, seed=0)
    assert len(set(held_out["person_id"])) == 4
    assert set(train["person_id"]).isdisjoint(held_out["person_id"])
    assert sorted([*train["person_id"], *held_out["person_id"]]) == dataset["person_id"][:]
    assert hold_out_identities(dataset, 0.1, seed=0)[1]["person_id"][:] == held_out["person_id"][:]
    assert hold_out_identities(dataset, 0.1, seed=1)[1]["person_id"][:] != held_out["person_id"][:]
    assert sorted(set(held_out["person_id"])) == [15, 20, 25, 36]  # recorded: must never change


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_hold_out_leaves_someone_on_either_side(share):
    train, held_out = hold_out_identities(people(2), share, seed=0)
    assert len(train) == len(held_out) == 3


def test_hold_out_bad_input():
    with pytest.raises(ValueError, match=r"share must be .* between 0 and 1, got 1\.0"):
        hold_out_identities(people(3), 1.0, seed=0)
    with pytest.raises(ValueError, match="1 identities cannot be split"):
        hold_out_identities(people(1), 0.5, seed=0)
