"""Lower garments and bare legs."""

from __future__ import annotations

from tbps.data.toypedes.attributes import Person
from tbps.data.toypedes.body import ANKLE, HIP, SIDES, SOLE, Body
from tbps.data.toypedes.palette import COLOURS, RGB, SKIN, contrast, mix, shade
from tbps.data.toypedes.pen import Pen, Point

LONG = ("trousers", "jeans", "track pants")


def draw_lower(pen: Pen, body: Body, person: Person) -> None:
    """Legs, and the garment over them."""
    colour, skin = COLOURS[person.lower_colour], SKIN[person.skin]
    for hip, ankle in _legs(body):
        if person.lower in LONG:
            pen.limb(hip, ankle, (10.5, 7.6), colour)
            _leg_details(pen, hip, ankle, person, colour)
        else:
            pen.limb(hip, ankle, (7.6, 5.0), skin)
    pen.polygon(body.trunk(HIP - 3, HIP + 6), colour)
    if person.lower in SHORT_GARMENTS:
        SHORT_GARMENTS[person.lower](pen, body, colour)


def _legs(body: Body) -> list[tuple[Point, Point]]:
    """Hip joint and ankle of either leg."""
    return [
        ((side * (body.hip - 5.2), HIP + 2), (foot[0], foot[1] - SOLE + ANKLE))
        for side, foot in zip(SIDES, body.feet, strict=True)
    ]


def _leg_details(pen: Pen, hip: Point, ankle: Point, person: Person, colour: RGB) -> None:
    if person.lower == "jeans":  # worn pale on the thigh, turned up at the ankle
        pale = mix(colour, (255, 255, 255), 0.3) if person.lower_colour != "white" else shade(colour, 0.14)
        pen.ellipse(((hip[0] + ankle[0]) / 2, 66.0), (2.4, 7.0), pale)
        turn_up = mix(colour, (255, 255, 255), 0.62) if person.lower_colour != "white" else shade(colour)
        pen.block(ankle[0] - 4.3, ankle[1] - 4.0, ankle[0] + 4.3, ankle[1], turn_up)
    if person.lower == "track pants":  # a stripe down the outside of either leg
        side = 1 if hip[0] > 0 else -1
        top, bottom = (hip[0] + side * 3.8, hip[1]), (ankle[0] + side * 2.6, ankle[1])
        pen.limb(top, bottom, (2.2, 2.2), contrast(colour))


def _shorts(pen: Pen, body: Body, colour: RGB) -> None:
    for hip, ankle in _legs(body):
        knee = ((hip[0] * 2 + ankle[0]) / 3, 71.0)
        pen.limb(hip, knee, (10.5, 10.5), colour)
        pen.block(knee[0] - 5.2, knee[1] - 2.0, knee[0] + 5.2, knee[1], shade(colour))


def _skirt(pen: Pen, body: Body, colour: RGB) -> None:
    pen.polygon([(-body.hip, HIP), (body.hip, HIP), (body.hip + 4.5, 73), (-body.hip - 4.5, 73)], colour)
    for x in (-5.0, 0.0, 5.0):
        pen.polygon([(x - 0.4, HIP + 5), (x + 0.4, HIP + 5), (x * 1.4 + 0.7, 73), (x * 1.4 - 0.7, 73)], shade(colour))


def _long_skirt(pen: Pen, body: Body, colour: RGB) -> None:
    pen.polygon([(-body.hip, HIP), (body.hip, HIP), (body.hip + 4.0, 89), (-body.hip - 4.0, 89)], colour)
    pen.polygon([(-body.hip - 3.5, 86), (body.hip + 3.5, 86), (body.hip + 4, 89), (-body.hip - 4, 89)], shade(colour))


SHORT_GARMENTS = {"shorts": _shorts, "skirt": _skirt, "long skirt": _long_skirt}
