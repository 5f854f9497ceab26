"""Upper garments: the trunk, the arms, and what tells one garment from another.

What is printed on or woven into an upper garment; the same on the front and on the back.
"""

from __future__ import annotations

from tbps.data.toypedes.attributes import NONE, Person
from tbps.data.toypedes.body import HIP, SHOULDER, SIDES, Body
from tbps.data.toypedes.palette import COLOURS, RGB, SKIN, contrast, shade
from tbps.data.toypedes.pen import Pen


def _stripes(pen: Pen, body: Body, colour: RGB) -> None:
    y = SHOULDER + 3.5
    while y < HIP - 4:
        pen.polygon(body.trunk(y, y + 3.2, wider=0.8), colour)
        y += 6.6


def _logo(pen: Pen, body: Body, colour: RGB) -> None:
    size = body.shoulder * 0.52
    pen.ellipse((0, 36.0), (size, 6.5), colour)


def _checks(pen: Pen, body: Body, colour: RGB) -> None:
    for x in (-0.66, 0.0, 0.66):
        middle = x * body.waist
        pen.block(middle - 0.9, SHOULDER + 0.5, middle + 0.9, HIP, colour)
    for y in (26.0, 33.0, 40.0, 47.0):
        pen.polygon(body.trunk(y, y + 1.8, wider=0.8), colour)


PATTERNS = {"stripes": _stripes, "logo": _logo, "checks": _checks}


HEM = {"coat": 68.0, "jacket": 54.0, "shirt": 55.0}  # a garment not named here ends at HIP + 1


def draw_upper(pen: Pen, body: Body, person: Person) -> None:
    """The upper garment with the arms and hands in it."""
    colour = COLOURS[person.upper_colour]
    hem = HEM.get(person.upper, HIP + 1)
    pen.polygon(body.trunk(SHOULDER, hem, wider=0.8), colour)
    pen.polygon([(-body.shoulder, SHOULDER + 1), (-3, 17.5), (3, 17.5), (body.shoulder, SHOULDER + 1)], colour)
    if person.pattern != "plain":
        PATTERNS[person.pattern](pen, body, COLOURS[person.pattern_colour])
    if person.upper in DETAILS:
        inner = colour if person.inner_colour == NONE else COLOURS[person.inner_colour]
        DETAILS[person.upper](pen, body, colour, inner)


def draw_arms(pen: Pen, body: Body, person: Person) -> None:
    """Sleeves and hands. They are drawn before the trunk, which covers their inner edge."""
    skin, colour = SKIN[person.skin], COLOURS[person.upper_colour]
    sleeve = COLOURS[person.inner_colour] if person.upper == "vest" else colour
    for side, elbow, hand in zip(SIDES, body.elbows, body.hands, strict=True):
        shoulder = (side * (body.shoulder - 1.0), SHOULDER + 3.0)
        forearm = skin if person.upper == "t-shirt" else sleeve
        pen.limb(elbow, hand, (body.arm * 0.9, body.arm * 0.75), forearm)
        if person.upper == "shirt":
            pen.ellipse((hand[0], hand[1] - 1.5), (body.arm * 0.5, 1.7), contrast(colour))
        pen.ellipse((hand[0], hand[1] + 1.5), (2.4, 2.6), skin)
        pen.limb(shoulder, elbow, (body.arm, body.arm * 0.9), sleeve)
        if person.upper == "t-shirt":  # the sleeve ends above the elbow
            middle = ((shoulder[0] + elbow[0]) / 2, (shoulder[1] + elbow[1]) / 2)
            pen.limb(middle, elbow, (body.arm * 0.8, body.arm * 0.8), skin)
            pen.limb(shoulder, middle, (body.arm * 1.1, body.arm * 1.25), colour)


def _t_shirt(pen: Pen, body: Body, colour: RGB, inner: RGB) -> None:
    pen.ellipse((0, 18.0), (4.2, 1.8), shade(colour))


def _shirt(pen: Pen, body: Body, colour: RGB, inner: RGB) -> None:
    trim = contrast(colour)
    if body.back:
        pen.block(-5.0, 17.0, 5.0, 20.0, trim)
        return
    pen.polygon([(-5.5, 17.0), (0, 18.0), (5.5, 17.0), (4.5, 23.5), (0, 20.0), (-4.5, 23.5)], trim)
    pen.block(-1.0, 20.0, 1.0, HEM["shirt"], trim)


def _sweater(pen: Pen, body: Body, colour: RGB, inner: RGB) -> None:
    pen.block(-4.6, 16.4, 4.6, 19.4, shade(colour))
    pen.polygon(body.trunk(HIP - 3.5, HIP + 1, wider=1.2), shade(colour))


def _hoodie(pen: Pen, body: Body, colour: RGB, inner: RGB) -> None:
    dark = shade(colour, 0.36)
    if body.back:
        pen.polygon([(-8.5, 17.5), (8.5, 17.5), (5.5, 28.0), (0, 31.5), (-5.5, 28.0)], dark)
        return
    pen.polygon([(-9.0, 15.5), (9.0, 15.5), (6.0, 22.5), (0, 24.5), (-6.0, 22.5)], dark)
    for side in SIDES:
        pen.block(side * 2.2 - 0.7, 23.0, side * 2.2 + 0.7, 30.0, contrast(colour))
    pen.polygon([(-4.5, 42), (4.5, 42), (7.0, 49), (-7.0, 49)], dark)


def _jacket(pen: Pen, body: Body, colour: RGB, inner: RGB) -> None:
    dark, hem = shade(colour), HEM["jacket"]
    pen.polygon(body.trunk(hem - 3.5, hem, wider=1.2), dark)
    if body.back:
        pen.polygon(body.trunk(SHOULDER, 27.0, wider=0.8), dark)
        return
    pen.polygon([(-4.6, 17.5), (4.6, 17.5), (4.2, hem - 2), (-4.2, hem - 2)], inner)
    for side in SIDES:
        pen.polygon([(side * 4.4, 17.5), (side * 7.4, 20), (side * 5.0, 30), (side * 4.0, 30)], dark)


def _coat(pen: Pen, body: Body, colour: RGB, inner: RGB) -> None:
    dark, hem = shade(colour), HEM["coat"]
    pen.polygon([*body.trunk(HIP - 4, hem, wider=0.8)[:2], (body.hip + 3.0, hem), (-body.hip - 3.0, hem)], colour)
    flare = [(-body.hip, HIP - 4), (body.hip, HIP - 4), (body.hip + 3.0, hem), (-body.hip - 3.0, hem)]
    pen.polygon(flare, colour)
    pen.polygon(body.trunk(39.0, 42.5, wider=1.0), dark)
    if body.back:
        pen.block(-0.7, 54.0, 0.7, hem, dark)
        return
    for side in SIDES:
        pen.polygon([(side * 1.0, 18), (side * 6.5, 18), (side * 6.0, 25), (0, 33)], dark)
        for y in (46.0, 52.0, 58.0):
            pen.ellipse((side * 3.2, y), (1.1, 1.1), contrast(colour))


def _vest(pen: Pen, body: Body, colour: RGB, inner: RGB) -> None:
    for y in (27.0, 34.0, 41.0, 48.0):  # quilting
        pen.polygon(body.trunk(y, y + 1.6, wider=0.8), shade(colour))
    if not body.back:
        pen.polygon([(-4.5, 17.0), (4.5, 17.0), (0, 26.0)], inner)


DETAILS = {
    "t-shirt": _t_shirt,
    "shirt": _shirt,
    "sweater": _sweater,
    "hoodie": _hoodie,
    "jacket": _jacket,
    "coat": _coat,
    "vest": _vest,
}
