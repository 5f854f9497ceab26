"""Colours, and a pen that draws on the image and its region mask at the same time.

The palette holds the colours that captions can name. They are far enough apart to survive camera light and a resize
to 64 x 32.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from PIL import ImageDraw

from tbps.data.toypedes.regions import Region

RGB = tuple[int, int, int]
Point = tuple[float, float]

COLOURS: dict[str, RGB] = {
    "black": (24, 24, 28),
    "white": (242, 242, 240),
    "grey": (136, 138, 142),
    "blue": (30, 66, 186),
    "red": (204, 24, 34),
    "green": (28, 138, 58),
    "brown": (112, 64, 28),
    "pink": (250, 138, 190),
    "purple": (122, 40, 160),
    "yellow": (246, 214, 36),
    "orange": (246, 124, 16),
}
HAIR: dict[str, RGB] = {
    "black": (26, 22, 22),
    "brown": (104, 60, 28),
    "blond": (240, 206, 104),
    "grey": (176, 176, 180),
    "red": (190, 74, 24),
}
SKIN: dict[str, RGB] = {
    "light": (250, 214, 184),
    "tan": (222, 172, 128),
    "dark": (138, 90, 60),
}


def luminance(colour: RGB) -> float:
    """Perceived brightness in 0..255 (Rec. 601 weights)."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue


def shade(colour: RGB, amount: float = 0.28) -> RGB:
    """Make a colour one step darker, or lighter if it is dark already, for seams, pockets and hems."""
    if luminance(colour) < 60:
        return mix(colour, (255, 255, 255), amount * 0.8)
    return mix(colour, (0, 0, 0), amount)


def contrast(colour: RGB) -> RGB:
    """White, or dark grey on light colours, for collars, soles and other trimmings."""
    return (70, 70, 76) if luminance(colour) > 170 else (240, 240, 238)


def mix(one: RGB, other: RGB, share: float) -> RGB:
    """Mix two colours; `share` (0..1) is the weight of `other`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


@dataclass(frozen=True)
class Pen:
    """A pen that fills shapes given in doll units: x from the middle, positive to the right; y down from the crown.

    Every shape is drawn on the colour image and, as the number of `region`, on the mask, so the two always agree.
    """

    image: ImageDraw.ImageDraw
    mask: ImageDraw.ImageDraw
    origin: Point  # canvas pixels of the doll's (0, 0)
    unit: float  # canvas pixels per doll unit
    mirror: int  # 1, or -1 for a doll seen in a mirror
    region: Region = Region.BACKGROUND

    def of(self, region: Region) -> Pen:
        """The same pen, drawing `region`."""
        return replace(self, region=region)

    def at(self, point: Point) -> Point:
        """Convert a point from doll units to canvas pixels."""
        return self.origin[0] + self.mirror * point[0] * self.unit, self.origin[1] + point[1] * self.unit

    def polygon(self, points: Iterable[Point], colour: RGB) -> None:
        """Fill a polygon."""
        corners = [self.at(point) for point in points]
        self.image.polygon(corners, fill=colour)
        self.mask.polygon(corners, fill=int(self.region))

    def ellipse(self, centre: Point, radii: Point, colour: RGB) -> None:
        """Fill an ellipse."""
        box = self._box(centre, radii)
        self.image.ellipse(box, fill=colour)
        self.mask.ellipse(box, fill=int(self.region))

    def dome(self, centre: Point, radii: Point, colour: RGB) -> None:
        """Fill the upper half of an ellipse."""
        box = self._box(centre, radii)
        self.image.pieslice(box, 180, 360, fill=colour)
        self.mask.pieslice(box, 180, 360, fill=int(self.region))

    def block(self, left: float, top: float, right: float, bottom: float, colour: RGB) -> None:
        """Fill an upright rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def limb(self, start: Point, end: Point, widths: Point, colour: RGB) -> None:
        """Fill a bar from `start` to `end` with a round start; `widths` are its widths at the two ends."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = (dx * dx + dy * dy) ** 0.5 or 1.0
        nx, ny = -dy / length / 2, dx / length / 2
        near, far = widths
        corners = [
            (start[0] + nx * near, start[1] + ny * near),
            (end[0] + nx * far, end[1] + ny * far),
            (end[0] - nx * far, end[1] - ny * far),
            (start[0] - nx * near, start[1] - ny * near),
        ]
        self.polygon(corners, colour)
        self.ellipse(start, (near / 2, near / 2), colour)

    def _box(self, centre: Point, radii: Point) -> tuple[float, float, float, float]:
        x, y = self.at(centre)
        rx, ry = radii[0] * self.unit, radii[1] * self.unit
        return x - rx, y - ry, x + rx, y + ry
