"""Clothes: upper garments with arms and patterns, lower garments with legs, and shoes."""

from __future__ import annotations

from tbps.data.toypedes.attributes import NONE, Person
from tbps.data.toypedes.drawing import COLOURS, RGB, SKIN, Pen, Point, contrast, mix, shade
from tbps.data.toypedes.figure import ANKLE, HIP, SHOULDER, SIDES, SOLE, Body


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
    """Draw the trunk of the upper garment, its pattern and its details."""
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
    """Draw sleeves and hands. They come before the trunk, which covers their inner edge."""
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


LONG = ("trousers", "jeans", "track pants")


def draw_lower(pen: Pen, body: Body, person: Person) -> None:
    """Draw the legs and the lower garment."""
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
    """Hip joint and ankle of each leg."""
    return [
        ((side * (body.hip - 5.2), HIP + 2), (foot[0], foot[1] - SOLE + ANKLE))
        for side, foot in zip(SIDES, body.feet, strict=True)
    ]


def _leg_details(pen: Pen, hip: Point, ankle: Point, person: Person, colour: RGB) -> None:
    if person.lower == "jeans":  # faded on the thigh, turned up at the ankle
        pale = mix(colour, (255, 255, 255), 0.3) if person.lower_colour != "white" else shade(colour, 0.14)
        pen.ellipse(((hip[0] + ankle[0]) / 2, 66.0), (2.4, 7.0), pale)
        turn_up = mix(colour, (255, 255, 255), 0.62) if person.lower_colour != "white" else shade(colour)
        pen.block(ankle[0] - 4.3, ankle[1] - 4.0, ankle[0] + 4.3, ankle[1], turn_up)
    if person.lower == "track pants":  # a stripe down the outside of each leg
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


def draw_shoes(pen: Pen, body: Body, person: Person) -> None:
    """Draw both shoes, larger than life so that they survive a resize to 64 x 32."""
    for side, foot in zip(SIDES, body.feet, strict=True):
        SHOES[person.shoes](pen, side, foot, COLOURS[person.shoes_colour], SKIN[person.skin])


def _foot(foot: Point, side: int, top: float, inner: float, outer: float, low: float = 0.0) -> list[Point]:
    """The outline of a foot from `top` down to `low` above the sole, toes pointing outwards."""
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
