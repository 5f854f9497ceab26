"""Render a person with given attributes and camera parameters: the image and its region mask."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from tbps.data.toypedes.attributes import Person
from tbps.data.toypedes.bags import draw_bag_behind, draw_bag_in_front
from tbps.data.toypedes.camera import HEIGHT, WIDTH, Camera
from tbps.data.toypedes.clothes import draw_arms, draw_lower, draw_shoes, draw_upper
from tbps.data.toypedes.drawing import Pen
from tbps.data.toypedes.figure import Body, draw_head, make_body
from tbps.data.toypedes.random_streams import Stream, stream
from tbps.data.toypedes.regions import Region
from tbps.data.toypedes.scene import draw_occluder, draw_scene

FINE = 2  # canvas pixels per image pixel: edges are smoothed by averaging 2 x 2


def render(person: Person, camera: Camera) -> tuple[Image.Image, Image.Image]:
    """Draw `person` as `camera` sees them.

    The result depends only on the arguments, and noise and background do not depend on the person. After
    `dataclasses.replace(person, shoes_colour="red")`, only pixels of the shoes and of their smoothed edges differ.

    Returns:
        An RGB image and an "L" mask of `Region` numbers, both 128 high and 64 wide.
    """
    canvas, regions = paint(person, camera)
    image = _light(np.asarray(canvas.reduce(FINE)), camera)
    return Image.fromarray(image), regions.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)


def paint(person: Person, camera: Camera) -> tuple[Image.Image, Image.Image]:
    """Draw the image and its mask before light and smoothing, 256 high and 128 wide."""
    canvas = draw_scene(camera, WIDTH * FINE, HEIGHT * FINE)
    regions = Image.new("L", canvas.size, int(Region.BACKGROUND))
    pen = Pen(
        image=ImageDraw.Draw(canvas),
        mask=ImageDraw.Draw(regions),
        origin=(camera.x * FINE, camera.y * FINE),
        unit=camera.scale * FINE,
        mirror=-1 if camera.mirrored else 1,
    )
    _draw_person(pen, make_body(person.gender, camera), person)
    draw_occluder(pen, camera)
    return canvas, regions


def _draw_person(pen: Pen, body: Body, person: Person) -> None:
    """Draw from back to front: later shapes cover earlier ones."""
    draw_bag_behind(pen.of(Region.BAG), body, person)
    draw_lower(pen.of(Region.LOWER), body, person)
    draw_shoes(pen.of(Region.SHOES), body, person)
    draw_arms(pen.of(Region.UPPER), body, person)
    draw_upper(pen.of(Region.UPPER), body, person)
    draw_head(pen.of(Region.HEAD), body, person)
    draw_bag_in_front(pen.of(Region.BAG), body, person)


def _light(pixels: np.ndarray, camera: Camera) -> np.ndarray:
    """Apply brightness, contrast, tint and sensor noise to each pixel. (H, W, 3) uint8 -> (H, W, 3) uint8."""
    tint = np.asarray(camera.tint, dtype=np.float32)
    lit = (pixels * (camera.brightness * tint) - 128) * camera.contrast + 128
    grain = stream(camera.noise_seed, Stream.NOISE).standard_normal(pixels.shape, dtype=np.float32)
    return np.clip(np.rint(lit + camera.noise * grain), 0, 255).astype(np.uint8)
