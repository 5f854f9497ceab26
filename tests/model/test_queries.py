"""Texts in the processor: settings by every route, cuts counted, bad input named."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TEXT_LENGTH
from transformers import CLIPTokenizer

from tbps import TBPSImageProcessor, TBPSProcessor

LONG = " ".join(["red bag"] * 30)
SETTINGS: dict[str, list[Any]] = {
    "truncation": [True, False, "longest_first", "do_not_truncate"],
    "max_length": [8, 24, 60],
    "add_special_tokens": [True, False],
}


@pytest.fixture(scope="module")
def bytes_processor() -> TBPSProcessor:
    """Like CLIP's: a letter that is not ASCII takes several tokens."""
    tokenizer = CLIPTokenizer().train_new_from_iterator(["a red bag"] * 20, 300)
    tokenizer.model_max_length = TEXT_LENGTH
    return TBPSProcessor(TBPSImageProcessor(size={"height": 32, "width": 16}), tokenizer)


chosen = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in SETTINGS.items()})
sentence_lists = st.lists(
    st.sampled_from(["a red bag", LONG, "rot", "漢字" * 12, "é" * 23, "a" * 23]), min_size=1, max_size=4
)


@given(sentences=sentence_lists, asked=chosen, place=st.sampled_from(["flat", "text_kwargs"]))
@settings(deadline=None, max_examples=60)
def test_cuts_are_counted_whichever_way_settings_are_given(
    bytes_processor: TBPSProcessor, sentences: list[str], asked: dict[str, Any], place: str
) -> None:
    tokenizer, counts = bytes_processor.tokenizer, []
    counted = bytes_processor.count_truncated
    bytes_processor.count_truncated = lambda *a, **k: counts.append(counted(*a, **k)) or counts[-1]
    try:
        found = bytes_processor(text=sentences, **(asked if place == "flat" else {place: asked}))["input_ids"]
    finally:
        del bytes_processor.count_truncated
    special = {name: value for name, value in asked.items() if name == "add_special_tokens"}
    uncut = tokenizer(sentences, verbose=False, **special)["input_ids"]
    assert found == tokenizer(sentences, verbose=False, **{"truncation": True, **asked})["input_ids"]
    assert (counts or [0]) == [sum(ids != cut for ids, cut in zip(uncut, found, strict=True))]


def test_cuts_give_a_warning(tiny_processor: TBPSProcessor, propagate: None, caplog: pytest.LogCaptureFixture) -> None:
    tiny_processor(text=[LONG, "a bag"], truncation=False)
    assert "were cut" not in caplog.text
    tiny_processor(text=[LONG, "a bag"])
    assert "1 of 2 texts are too long and were cut" in caplog.text


@pytest.mark.parametrize(
    "text", ["a red bag", ["a red bag"], ("a red bag",), np.array(["a red bag"]), iter(["a red bag"])]
)
def test_texts_may_be_any_sequence(text: Any, tiny_processor: TBPSProcessor) -> None:
    found = np.asarray(tiny_processor(text=text)["input_ids"]).ravel().tolist()
    assert found == tiny_processor.tokenizer("a red bag")["input_ids"]


BAD = [
    [None],
    ["a bag", 3],
    [b"a bag"],
    [["a", "bag"]],
    [float("nan")],
    3,
    b"a bag",
    [],
    [""],
    ["  "],
    ["..."],
    {},
    [{}],
    {"a bag": 1},
    {"a bag"},
]


@pytest.mark.parametrize("text", BAD, ids=repr)
def test_bad_texts_are_named(text: Any, tiny_processor: TBPSProcessor) -> None:
    with pytest.raises(ValueError, match=r"Text \d of \d is|text must be a string|text is an empty list"):
        tiny_processor(text=text)
