"""Shoes. They are drawn larger than life, so that they are still there at 64 x 32 pixels."""

from __future__ import annotations

from tbps.data.toypedes.attributes import Person
from tbps.data.toypedes.body import SIDES, Body
from tbps.data.toypedes.palette import COLOURS, RGB, SKIN, contrast, shade
from tbps.data.toypedes.pen import Pen, Point


def draw_shoes(pen: Pen, body: Body, person: Person) -> None:
    """Both shoes."""
    for side, foot in zip(SIDES, body.feet, strict=True):
        SHOES[person.shoes](pen, side, foot, COLOURS[person.shoes_colour], SKIN[person.skin])


def _foot(foot: Point, side: int, top: float, inner: float, outer: float, low: float = 0.0) -> list[Point]:
    """A foot's outline from `top` above the sole down to `low` above it; the toes point outwards."""
    x, y = foot
    return [
        (x - side * inner * 0.8, y - top),
        (x + side * inner * 0.8, y - top),
        (x + side * outer, y - low - 3.0 if top > 4 else y - top),
        (x + side * outer, y - low),
        (x - side * inner, y - low),
    ]


def _trainers(pen: Pen, side: int, foot: Point, colour: RGB, skin: RGB) -> None:
    pen.polygon(_foot(foot, side, 9.0, 5.0, 8.0), colour)
    pen.polygon(_foot(foot, side, 2.6, 5.4, 8.8), contrast(colour))


def _boots(pen: Pen, side: int, foot: Point, colour: RGB, skin: RGB) -> None:
    pen.polygon(_foot(foot, side, 20.0, 5.4, 7.6), colour)
    pen.polygon(_foot(foot, side, 20.0, 5.8, 5.8, low=17.0), shade(colour))


def _sandals(pen: Pen, side: int, foot: Point, colour: RGB, skin: RGB) -> None:
    pen.polygon(_foot(foot, side, 8.5, 4.6, 7.0), skin)
    pen.polygon(_foot(foot, side, 3.0, 5.2, 8.2), colour)
    x, y = foot
    pen.block(x - 4.4, y - 8.0, x + 4.4, y - 5.6, colour)


def _heels(pen: Pen, side: int, foot: Point, colour: RGB, skin: RGB) -> None:
    x, y = foot
    pen.polygon([(x - 3.0, y - 9.5), (x + 3.0, y - 9.5), (x + 3.0, y - 4), (x - 3.0, y - 4)], skin)
    pen.polygon([(x - 3.8, y - 7.5), (x + side * 7.0, y - 2.6), (x + side * 7.0, y), (x + side * 1.0, y - 2.0)], colour)
    pen.polygon([(x - 4.0, y - 7.5), (x + 4.0, y - 7.5), (x + side * 7.0, y), (x + side * 1.5, y - 1.6)], colour)
    pen.block(x - side * 2.8 - 1.1, y - 7.0, x - side * 2.8 + 1.1, y, colour)


SHOES = {"trainers": _trainers, "boots": _boots, "sandals": _sandals, "heels": _heels}
