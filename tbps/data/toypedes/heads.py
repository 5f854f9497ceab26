"""Face, hair and hats."""

from __future__ import annotations

from tbps.data.toypedes.attributes import NONE, Person
from tbps.data.toypedes.body import SHOULDER, SIDES, Body
from tbps.data.toypedes.palette import COLOURS, HAIR, RGB, SKIN, contrast, shade
from tbps.data.toypedes.pen import Pen

CENTRE = (0.0, 9.5)
FACE = (6.6, 8.0)


def draw_head(pen: Pen, body: Body, person: Person) -> None:
    """Neck, head, hair and hat. Long hair falls over the shoulders, on the back over the garment."""
    skin = SKIN[person.skin]
    hair = SKIN[person.skin] if person.hair_colour == NONE else HAIR[person.hair_colour]
    if person.hair_length == "long":
        _long_hair(pen, body, hair)
    if person.hair_length != "long" or not body.back:
        pen.block(-2.8, 14, 2.8, SHOULDER + 0.5, skin)
    pen.ellipse(CENTRE, FACE, skin)
    if person.hair_length != "bald":
        _hair_on_head(pen, body, hair)
    if not body.back:
        _face(pen, skin)
    if person.hat != NONE:
        HATS[person.hat](pen, body, COLOURS[person.hat_colour])


def _long_hair(pen: Pen, body: Body, hair: RGB) -> None:
    if body.back:
        pen.polygon([(-7.8, 8), (7.8, 8), (8.8, 33), (-8.8, 33)], hair)
        return
    for side in SIDES:  # two locks: the neck and the collar stay free between them
        pen.polygon([(side * 8.2, 8), (side * 3.0, 8), (side * 4.6, 30), (side * 9.2, 30)], hair)


def _hair_on_head(pen: Pen, body: Body, hair: RGB) -> None:
    if body.back:
        pen.ellipse((0, 9.2), (7.4, 9.0), hair)
        return
    pen.dome((0, 8.6), (7.8, 8.6), hair)
    for side in SIDES:  # sideburns, so that hair shows under a hat as well
        pen.polygon([(side * 7.8, 8), (side * 5.2, 8), (side * 5.6, 13), (side * 7.2, 13)], hair)
    pen.dome((0, 9.5), (5.2, 4.4), hair)


def _face(pen: Pen, skin: RGB) -> None:
    for side in SIDES:
        pen.ellipse((side * 2.5, 10.6), (0.9, 0.9), (30, 26, 26))
    pen.block(-1.8, 14.0, 1.8, 14.8, shade(skin, 0.4))


def _cap(pen: Pen, body: Body, colour: RGB) -> None:
    pen.dome((0, 7.6), (8.0, 8.6), colour)
    if body.back:
        pen.dome((0, 7.8), (2.2, 2.4), shade(colour))
    else:
        pen.ellipse((0, 7.6), (9.6, 2.0), shade(colour))


def _beanie(pen: Pen, body: Body, colour: RGB) -> None:
    pen.dome((0, 7.6), (8.2, 10.5), colour)
    pen.block(-8.4, 4.8, 8.4, 8.4, shade(colour))
    pen.ellipse((0, -3.2), (2.6, 2.6), contrast(colour))


def _sun_hat(pen: Pen, body: Body, colour: RGB) -> None:
    pen.ellipse((0, 6.4), (16.5, 3.2), colour)
    pen.dome((0, 5.6), (7.6, 7.4), colour)
    pen.block(-7.6, 3.4, 7.6, 5.4, contrast(colour))


HATS = {"cap": _cap, "beanie": _beanie, "sun hat": _sun_hat}
