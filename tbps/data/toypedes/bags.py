"""Bags, drawn in two layers: behind the person and in front of them."""

from __future__ import annotations

from tbps.data.toypedes.attributes import Person
from tbps.data.toypedes.drawing import COLOURS, Pen, contrast, shade
from tbps.data.toypedes.figure import HIP, SHOULDER, SIDES, Body


def draw_bag_behind(pen: Pen, body: Body, person: Person) -> None:
    """Draw the parts behind the trunk. From the front, a backpack shows above and beside the shoulders."""
    if person.bag == "backpack" and not body.back:
        half = body.shoulder + 5.5
        pen.polygon(
            [(-half, 22), (-half + 4, 16), (half - 4, 16), (half, 22), (half, 47), (-half, 47)], _colour(person)
        )


def draw_bag_in_front(pen: Pen, body: Body, person: Person) -> None:
    """Draw the parts that lie over the clothes."""
    if person.bag in BAGS:
        BAGS[person.bag](pen, body, person)


def _colour(person: Person) -> tuple[int, int, int]:
    return COLOURS[person.bag_colour]


def _backpack(pen: Pen, body: Body, person: Person) -> None:
    colour = _colour(person)
    if not body.back:
        for side in SIDES:
            middle = side * (body.shoulder - 3.6)
            pen.block(middle - 2.0, SHOULDER - 1.5, middle + 2.0, 42, colour)
        return
    half = body.shoulder - 1.5  # the collar, the yoke and the sides of the garment stay visible
    for side in SIDES:
        pen.block(side * (half - 3) - 1.6, SHOULDER - 0.5, side * (half - 3) + 1.6, 30, colour)
    pen.polygon([(-half, 30), (-half + 3, 26), (half - 3, 26), (half, 30), (half, 50), (-half, 50)], colour)
    pen.block(-half + 2.5, 39, half - 2.5, 47, shade(colour))


def _shoulder_bag(pen: Pen, body: Body, person: Person) -> None:
    """A strap across the chest, and the bag at the opposite hip."""
    colour = _colour(person)
    strap = [(-body.shoulder + 2, SHOULDER - 1), (-body.shoulder + 5.6, SHOULDER - 1)]
    pen.polygon([*strap, (body.hip + 2, HIP - 3), (body.hip - 2.0, HIP - 3)], colour)
    left = body.hip - 4.5
    pen.block(left, HIP - 5, left + 13.5, HIP + 11, colour)
    pen.polygon([(left, HIP - 5), (left + 13.5, HIP - 5), (left + 11, HIP + 2), (left + 2.5, HIP + 2)], shade(colour))


def _handbag(pen: Pen, body: Body, person: Person) -> None:
    """A bag held in one hand by its handle."""
    colour = _colour(person)
    x, y = body.hands[0]
    for side in SIDES:
        pen.limb((x, y + 1), (x + side * 4.5, y + 8), (1.8, 1.8), shade(colour))
    pen.polygon([(x - 6, y + 7), (x + 6, y + 7), (x + 8, y + 20), (x - 8, y + 20)], colour)
    pen.block(x - 1.6, y + 7, x + 1.6, y + 10, contrast(colour))


def _suitcase(pen: Pen, body: Body, person: Person) -> None:
    """A suitcase on wheels, pulled along by its long handle."""
    colour = _colour(person)
    x, y = body.hands[0]
    for side in SIDES:
        pen.limb((x + side * 2.5, y), (x + side * 2.5, 70), (1.4, 1.4), (90, 92, 98))
    pen.block(x - 3.2, y - 1, x + 3.2, y + 1.4, (60, 60, 66))
    pen.block(x - 9, 69, x + 6, 97, colour)
    for y_line in (76, 83, 90):
        pen.block(x - 8, y_line, x + 5, y_line + 1.6, shade(colour))
    for dx in (-6.5, 3.5):
        pen.ellipse((x + dx, 98), (1.9, 1.9), (40, 40, 44))


BAGS = {"backpack": _backpack, "shoulder bag": _shoulder_bag, "handbag": _handbag, "suitcase": _suitcase}
