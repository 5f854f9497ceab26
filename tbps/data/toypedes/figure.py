"""The doll: the proportions and joints of its body in a pose, and its head with face, hair and hat.

All measures are in doll units: 100 from crown to sole.
"""

from __future__ import annotations

from dataclasses import dataclass

from tbps.data.toypedes.attributes import NONE, Person
from tbps.data.toypedes.camera import Camera
from tbps.data.toypedes.drawing import COLOURS, HAIR, RGB, SKIN, Pen, Point, contrast, shade

NECK, SHOULDER, WAIST, HIP, KNEE, ANKLE, SOLE = 17.0, 20.0, 38.0, 51.0, 72.0, 92.0, 100.0
SIDES = (-1, 1)


@dataclass(frozen=True)
class Body:
    """Half widths of the trunk and positions of the joints; pairs are (left, right) on the image."""

    shoulder: float
    waist: float
    hip: float
    arm: float  # width of a sleeve
    elbows: tuple[Point, Point]
    hands: tuple[Point, Point]
    feet: tuple[Point, Point]  # the middle of each sole
    back: bool  # seen from behind

    def half_width(self, y: float) -> float:
        """Half the width of the trunk at height y."""
        if y <= WAIST:
            share = max(0.0, (y - SHOULDER) / (WAIST - SHOULDER))
            return self.shoulder + (self.waist - self.shoulder) * share
        share = min(1.0, (y - WAIST) / (HIP - WAIST))
        return self.waist + (self.hip - self.waist) * share

    def trunk(self, top: float, bottom: float, wider: float = 0.0) -> list[Point]:
        """The outline of the trunk between two heights, `wider` units wider on each side."""
        heights = [top, *(y for y in (WAIST, HIP) if top < y < bottom), bottom]
        right = [(self.half_width(y) + wider, y) for y in heights]
        return right + [(-x, y) for x, y in reversed(right)]


def make_body(gender: str, camera: Camera) -> Body:
    """Build the body of a man or a woman in the pose of `camera`."""
    shoulder, waist, hip, arm = (13.5, 11.5, 10.5, 5.8) if gender == "man" else (10.0, 7.2, 11.0, 4.6)
    reach = 2.0 + 1.5 * camera.swing
    elbow = shoulder + reach * 0.6
    hand = max(shoulder, hip) + reach + 1.0
    lift = 4.0 * abs(camera.stride)
    spread = 5.6 + 1.2 * abs(camera.stride)
    left_lift, right_lift = (lift, 0.0) if camera.stride < 0 else (0.0, lift)
    return Body(
        shoulder=shoulder,
        waist=waist,
        hip=hip,
        arm=arm,
        elbows=((-elbow, 37.0), (elbow, 37.0)),
        hands=((-hand, 52.0), (hand, 52.0)),
        feet=((-spread, SOLE - left_lift), (spread, SOLE - right_lift)),
        back=camera.view == "back",
    )


CENTRE = (0.0, 9.5)
FACE = (6.6, 8.0)


def draw_head(pen: Pen, body: Body, person: Person) -> None:
    """Draw neck, head, hair and hat. Long hair falls over the shoulders, or over the garment in a back view."""
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
    for side in SIDES:  # two strands: neck and collar stay visible between them
        pen.polygon([(side * 8.2, 8), (side * 3.0, 8), (side * 4.6, 30), (side * 9.2, 30)], hair)


def _hair_on_head(pen: Pen, body: Body, hair: RGB) -> None:
    if body.back:
        pen.ellipse((0, 9.2), (7.4, 9.0), hair)
        return
    pen.dome((0, 8.6), (7.8, 8.6), hair)
    for side in SIDES:  # sideburns, so that hair shows below a hat
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
