from __future__ import annotations

import re
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tbps.data.toypedes import lexicon
from tbps.data.toypedes.attributes import NONE, Person, draw_person
from tbps.data.toypedes.captions import Caption, write_caption
from tbps.data.toypedes.drawing import COLOURS
from tbps.data.toypedes.regions import BODY, Region, mark, unmark

NOUNS = {
    Region.UPPER: lexicon.UPPERS,
    Region.LOWER: lexicon.LOWERS,
    Region.SHOES: lexicon.SHOES,
    Region.BAG: lexicon.BAGS,
}
WORDS = {region: {noun.word for nouns in table.values() for noun in nouns} for region, table in NOUNS.items()}
WORDS[Region.HEAD] = {"hair", "head", *(noun.word for nouns in lexicon.HATS.values() for noun in nouns)}
cases = st.tuples(st.integers(0, 50), st.integers(0, 5000), st.integers(0, 5), st.sampled_from(["front", "back"]))
regions = st.sets(st.sampled_from(BODY))


def caption_of(case: tuple[int, int, int, str], visible: set[Region]) -> tuple[Person, Caption]:
    seed, number, image, view = case
    person = draw_person(seed, number)
    seen = {region for region in visible if region != Region.BAG or person.bag != NONE}
    return person, write_caption(person, view, seen, seed=seed, key=(number, image, 0))


@settings(max_examples=300, deadline=None)
@given(cases, regions)
def test_what_is_stated_is_true(case: tuple[int, int, int, str], visible: set[Region]) -> None:
    person, caption = caption_of(case, visible)
    for name, values in caption.stated.items():
        assert asdict(person)[name] in values


@settings(max_examples=300, deadline=None)
@given(cases, regions)
def test_spans_point_at_the_words_of_their_region(case: tuple[int, int, int, str], visible: set[Region]) -> None:
    _, caption = caption_of(case, visible)
    outside = caption.text
    for start, end, region in caption.spans:
        words = caption.text[start:end]
        assert words == words.strip()
        assert region in visible
        assert any(re.search(rf"\b{word}\b", words) for word in WORDS[Region(region)]), (words, region)
        outside = outside[:start] + "_" * (end - start) + outside[end:]
    for word in {"trousers", "shoes", "hair", "backpack", "rucksack", "hoodie", "boots", *COLOURS}:
        assert not re.search(rf"\b{word}\b", outside), caption.text


@settings(max_examples=300, deadline=None)
@given(cases)
def test_english_is_well_formed(case: tuple[int, int, int, str]) -> None:
    _, caption = caption_of(case, set(BODY))
    text = caption.text
    assert re.fullmatch(r"[A-Z][^.]*(\. [A-Z][^.]*){0,2}\.", text), text
    assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]|  | ,|,,|<|>|\bwith,|\band,", text), text
    for start, end, _ in caption.spans:  # "his shoes are white", "her skirt is red"
        said = text[start:end]
        assert not re.search(r"\b(shoes|boots|trousers|jeans|pants|shorts|trainers|sandals|heels) is\b", said), said
        assert not re.search(r"\b(skirt|shirt|coat|cap|backpack|footwear|hair) are\b", said), said
    assert caption.tokens() == re.findall(r"[\w'-]+", text.lower())


def test_hidden_regions_are_not_spoken_of() -> None:
    for number in range(60):
        _, caption = caption_of((0, number, 0, "front"), {Region.UPPER, Region.HEAD})
        assert {region for _, _, region in caption.spans} <= {Region.UPPER, Region.HEAD}
        assert not {"shoes", "shoes_colour", "lower", "lower_colour", "bag"} & set(caption.stated)


def test_captions_have_a_natural_length_and_are_not_all_alike() -> None:
    captions = [caption_of((0, number, 0, "front"), set(BODY))[1] for number in range(300)]
    lengths = [len(caption.tokens()) for caption in captions]
    assert sum(12 <= length <= 38 for length in lengths) > 0.9 * len(lengths)
    assert len({caption.text for caption in captions}) > 290
    assert len({tuple(region for _, _, region in caption.spans) for caption in captions}) > 40


def test_no_bag_is_sometimes_stated() -> None:
    captions = [caption_of((0, number, 0, "front"), set(BODY)) for number in range(400)]
    without = [caption for person, caption in captions if person.bag == NONE]
    told = [caption for caption in without if caption.stated.get("bag") == (NONE,)]
    assert 0 < len(told) < 0.3 * len(without)
    assert all(re.search("nothing|no bag|carrying a bag", caption.text) for caption in told)


def test_the_shirt_under_a_jacket_is_not_seen_from_behind() -> None:
    for number in range(300):
        person, caption = caption_of((0, number, 0, "back"), set(BODY))
        if person.upper == "jacket":
            assert "inner_colour" not in caption.stated


@pytest.mark.parametrize(
    ("marked", "text", "spans"),
    [
        ("plain", "plain", []),
        ("<4:red boots>", "red boots", [(0, 9, 4)]),
        ("a <2:coat> and <3:jeans>.", "a coat and jeans.", [(2, 6, 2), (11, 16, 3)]),
    ],
)
def test_marks_become_spans(marked: str, text: str, spans: list[tuple[int, int, int]]) -> None:
    assert unmark(marked) == (text, spans)
    assert unmark(mark(Region.BAG, text)) == (text, [(0, len(text), 5)])
    assert mark(Region.BACKGROUND, text) == text
