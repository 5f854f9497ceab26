from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tbps.data.toypedes.attributes import LAYERED, NONE, VALUES, draw_person

PEOPLE = [draw_person(0, person) for person in range(600)]


def test_a_person_depends_on_seed_and_number_alone() -> None:
    assert draw_person(0, 5) == PEOPLE[5]
    assert draw_person(1, 5) != PEOPLE[5]


def test_frequencies_are_skewed() -> None:
    legs = Counter((person.lower_colour, person.lower) for person in PEOPLE)
    assert legs["black", "trousers"] > 60
    assert legs["yellow", "trousers"] < 10
    hats = Counter((person.hat_colour, person.hat) for person in PEOPLE)
    assert hats["black", "cap"] > hats["yellow", "cap"]


def test_every_value_occurs_and_absent_things_have_no_colour() -> None:
    for name, values in VALUES.items():
        unused = {value for value in values if value not in {getattr(person, name) for person in PEOPLE}}
        assert not unused or name in ("pattern_colour", "inner_colour")  # these are drawn from fewer colours
    for person in PEOPLE:
        assert (person.hat == NONE) == (person.hat_colour == NONE)
        assert (person.bag == NONE) == (person.bag_colour == NONE)
        assert (person.upper in LAYERED) == (person.inner_colour != NONE)
        assert person.pattern_colour != person.upper_colour
        assert person.inner_colour != person.upper_colour


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shoes_colour": "turquoise"}, "shoes_colour must be one of black, white.*, got 'turquoise'"),
        ({"hat": "cap", "hat_colour": "none"}, "hat_colour must be a colour .*, got 'none'.*together with its item"),
        ({"bag": "none", "bag_colour": "red"}, "bag_colour must be 'none' .*, got 'red'.*together with its item"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PEOPLE[0], **changes)
