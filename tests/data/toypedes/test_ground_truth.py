from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from tbps.data.toypedes.attributes import NONE, draw_person
from tbps.data.toypedes.captions import write_caption
from tbps.data.toypedes.ground_truth import ceiling
from tbps.data.toypedes.regions import BODY, Region

PEOPLE = {
    1: {"gender": "man", "shoes": "boots"},
    2: {"gender": "man", "shoes": "boots"},
    3: {"gender": "woman", "shoes": "boots"},
    4: {"gender": "woman", "shoes": "heels"},
}
IMAGES = {1: 3, 2: 1, 3: 2, 4: 2}


@pytest.mark.parametrize(
    ("stated", "owner", "expected"),
    [
        ({}, 1, 3 / 8),  # says nothing: chance
        ({"gender": ("man",)}, 1, 3 / 4),
        ({"gender": ("man",)}, 2, 1 / 4),
        ({"gender": ("woman",), "shoes": ("boots",)}, 3, 1.0),
        ({"shoes": ("boots", "heels")}, 4, 2 / 8),  # a word that leaves both open
        ({"shoes": ("boots", "clogs")}, 3, 2 / 6),  # a value that nobody has
    ],
)
def test_one_caption_by_hand(stated: dict[str, tuple[str, ...]], owner: int, expected: float) -> None:
    assert ceiling([stated], [owner], PEOPLE, IMAGES) == pytest.approx(expected)


def test_captions_are_averaged() -> None:
    stated = [{"gender": ("man",)}, {"shoes": ("heels",)}]
    assert ceiling(stated, [2, 4], PEOPLE, IMAGES) == pytest.approx((1 / 4 + 1) / 2)


def test_agrees_with_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    names, values = ["a", "b", "c", "d"], ["x", "y", "z"]
    people = {person: {name: str(rng.choice(values)) for name in names} for person in range(40)}
    images = {person: int(rng.integers(1, 5)) for person in people}
    owners = [int(rng.integers(40)) for _ in range(100)]
    stated = [
        {name: {people[owner][name], str(rng.choice(values))} for name in names if rng.random() < 0.6}
        for owner in owners
    ]
    expected = 0.0
    for caption, owner in zip(stated, owners, strict=True):
        gallery = [person for person in people for _ in range(images[person])]
        left = [person for person in gallery if all(people[person][name] in caption[name] for name in caption)]
        expected += left.count(owner) / len(left) / len(owners)
    assert ceiling(stated, owners, people, images) == pytest.approx(expected)


def test_captions_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="0 captions"):
        ceiling([], [], PEOPLE, IMAGES)
    with pytest.raises(ValueError, match="1 captions and 2 owners"):
        ceiling([{}], [1, 2], PEOPLE, IMAGES)
    with pytest.raises(ValueError, match="does not match that person"):
        ceiling([{"gender": ("woman",)}], [1], PEOPLE, IMAGES)


def test_captions_of_200_people_leave_a_little_open() -> None:
    people = {number: draw_person(0, number) for number in range(801, 1001)}
    stated, owners = [], []
    for number, person in people.items():
        visible = [region for region in BODY if region != Region.BAG or person.bag != NONE]
        for image in range(3):
            stated.append(write_caption(person, "front", visible, seed=0, key=(number, image, 0)).stated)
            owners.append(number)
    best = ceiling(stated, owners, {n: asdict(person) for n, person in people.items()}, dict.fromkeys(people, 3))
    assert 0.93 < best < 0.98
