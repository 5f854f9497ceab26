"""What is printed on or woven into an upper garment; the same on the front and on the back."""

from __future__ import annotations

from tbps.toypedes.body import HIP, SHOULDER, Body
from tbps.toypedes.palette import RGB
from tbps.toypedes.pen import Pen


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
