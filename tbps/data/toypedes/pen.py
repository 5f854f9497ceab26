"""Drawing in the doll's own units, on the image and on the region mask at the same time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from PIL import ImageDraw

from tbps.data.toypedes.palette import RGB
from tbps.data.toypedes.regions import Region

Point = tuple[float, float]


@dataclass(frozen=True)
class Pen:
    """A pen that fills shapes given in doll units: x from the middle (positive is right), y down from the crown.

    Every shape goes to the colour image and, as the number of `region`, to the mask, so the two cannot disagree.
    """

    image: ImageDraw.ImageDraw
    mask: ImageDraw.ImageDraw
    origin: Point  # canvas pixels of the doll's (0, 0)
    unit: float  # canvas pixels per doll unit
    mirror: int  # 1, or -1 for a doll seen in a mirror
    region: Region = Region.BACKGROUND

    def of(self, region: Region) -> Pen:
        """The same pen, drawing for `region`."""
        return replace(self, region=region)

    def at(self, point: Point) -> Point:
        """Canvas pixels of a point in doll units."""
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
        """Fill a bar from `start` to `end`, `widths` wide at either end, with a round start."""
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
