"""The doll's measures and joints, in doll units (100 from crown to sole)."""

from __future__ import annotations

from dataclasses import dataclass

from tbps.data.toypedes.camera import Camera
from tbps.data.toypedes.pen import Point

NECK, SHOULDER, WAIST, HIP, KNEE, ANKLE, SOLE = 17.0, 20.0, 38.0, 51.0, 72.0, 92.0, 100.0
SIDES = (-1, 1)


@dataclass(frozen=True)
class Body:
    """Half widths of the trunk, and where hands and feet are; pairs are (left, right) on the image."""

    shoulder: float
    waist: float
    hip: float
    arm: float  # width of a sleeve
    elbows: tuple[Point, Point]
    hands: tuple[Point, Point]
    feet: tuple[Point, Point]  # the middle of each sole
    back: bool  # seen from behind

    def half_width(self, y: float) -> float:
        """Half the trunk's width at height y."""
        if y <= WAIST:
            share = max(0.0, (y - SHOULDER) / (WAIST - SHOULDER))
            return self.shoulder + (self.waist - self.shoulder) * share
        share = min(1.0, (y - WAIST) / (HIP - WAIST))
        return self.waist + (self.hip - self.waist) * share

    def trunk(self, top: float, bottom: float, wider: float = 0.0) -> list[Point]:
        """The outline of the trunk between two heights, `wider` units wider on either side."""
        heights = [top, *(y for y in (WAIST, HIP) if top < y < bottom), bottom]
        right = [(self.half_width(y) + wider, y) for y in heights]
        return right + [(-x, y) for x, y in reversed(right)]


def make_body(gender: str, camera: Camera) -> Body:
    """The body of a man or a woman in the pose of `camera`."""
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
