"""Backgrounds, and occluders between the camera and the person."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from tbps.data.toypedes.camera import DOLL_HALF_WIDTH, DOLL_HEIGHT, Camera
from tbps.data.toypedes.drawing import RGB, Pen, shade
from tbps.data.toypedes.random_streams import Stream, stream


def draw_scene(camera: Camera, width: int, height: int) -> Image.Image:
    """Draw the background of `camera`, (height, width) pixels, from its own random stream."""
    rng = stream(camera.scene_seed, Stream.SCENE)
    image = Image.new("RGB", (width, height))
    SCENES[camera.scene](ImageDraw.Draw(image), rng, width, height)
    return image


def _muted(rng: np.random.Generator, low: int, high: int, spread: int = 14) -> RGB:
    """A greyish colour, so that the strong colours belong to the person and not to the background."""
    level = int(rng.integers(low, high))
    red, green, blue = (int(np.clip(level + rng.integers(-spread, spread + 1), 0, 255)) for _ in range(3))
    return red, green, blue


def _gradient(draw: ImageDraw.ImageDraw, colour: RGB, width: int, top: int, bottom: int) -> None:
    """Horizontal bands that get darker towards the bottom."""
    for y in range(top, bottom, 4):
        share = 0.25 * (y - top) / max(1, bottom - top)
        draw.rectangle((0, y, width, min(y + 3, bottom)), fill=tuple(round(c * (1 - share)) for c in colour))


def _street(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int) -> None:
    horizon = int(height * rng.uniform(0.35, 0.6))
    _gradient(draw, _muted(rng, 170, 215), width, 0, horizon)
    for _ in range(int(rng.integers(2, 5))):  # houses
        left, top = int(rng.integers(-20, width)), int(rng.integers(0, horizon))
        draw.rectangle((left, top, left + int(rng.integers(20, 60)), horizon), fill=_muted(rng, 110, 190))
    _gradient(draw, _muted(rng, 120, 160, 6), width, horizon, height)
    if rng.random() < 0.6:  # a parked car
        left, colour = int(rng.integers(-40, width - 20)), _muted(rng, 60, 200, 40)
        draw.rectangle((left + 12, horizon - 22, left + 52, horizon - 6), fill=(70, 80, 92))
        draw.rectangle((left, horizon - 8, left + 66, horizon + 10), fill=colour)
        for wheel in (left + 8, left + 44):
            draw.ellipse((wheel, horizon + 3, wheel + 14, horizon + 17), fill=(34, 34, 36))


def _wall(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int) -> None:
    colour, floor = _muted(rng, 145, 210), int(height * rng.uniform(0.7, 0.9))
    draw.rectangle((0, 0, width, height), fill=colour)
    for row, y in enumerate(range(0, floor, 14)):  # bricks
        draw.line((0, y, width, y), fill=shade(colour, 0.14), width=2)
        for x in range(-14 * (row % 2), width, 28):
            draw.line((x, y, x, y + 14), fill=shade(colour, 0.14), width=2)
    _gradient(draw, _muted(rng, 90, 150, 8), width, floor, height)


def _corridor(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int) -> None:
    wall, floor = _muted(rng, 165, 215), int(height * rng.uniform(0.6, 0.8))
    _gradient(draw, wall, width, 0, floor)
    for _ in range(2):  # doors and posters
        left, top = int(rng.integers(-10, width)), int(rng.integers(10, floor // 2))
        right, bottom = left + int(rng.integers(16, 44)), floor if rng.random() < 0.5 else top + 40
        draw.rectangle((left, top, right, bottom), fill=_muted(rng, 100, 200, 26))
    _gradient(draw, _muted(rng, 150, 190, 8), width, floor, height)
    for x in range(-width, 2 * width, 36):
        draw.line((x, height, width // 2 + (x - width // 2) // 3, floor), fill=shade(wall, 0.35), width=2)


def _tiles(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int) -> None:
    colour, size = _muted(rng, 150, 210), int(rng.integers(18, 34))
    draw.rectangle((0, 0, width, height), fill=colour)
    other = shade(colour, 0.1 + 0.12 * float(rng.random()))
    for row, y in enumerate(range(0, height, size)):
        for x in range(size * (row % 2), width, 2 * size):
            draw.rectangle((x, y, x + size - 1, y + size - 1), fill=other)


def _park(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int) -> None:
    horizon = int(height * rng.uniform(0.3, 0.5))
    _gradient(draw, (186, 206, 222), width, 0, horizon)
    for _ in range(int(rng.integers(3, 7))):  # trees
        x, y, size = int(rng.integers(0, width)), int(rng.integers(0, horizon)), int(rng.integers(14, 34))
        draw.ellipse((x - size, y - size, x + size, y + size), fill=(96, int(rng.integers(112, 140)), 86))
        draw.rectangle((x - 3, y + size // 2, x + 3, max(y + size, horizon + 6)), fill=(104, 86, 70))
    _gradient(draw, (148, int(rng.integers(158, 176)), 122), width, horizon, height)
    left = int(rng.integers(-10, width // 2))
    draw.polygon(
        [(left, height), (left + 60, height), (width // 2 + 8, horizon), (width // 2, horizon)], (196, 186, 166)
    )


SCENES = {"street": _street, "wall": _wall, "corridor": _corridor, "tiles": _tiles, "park": _park}


def draw_occluder(pen: Pen, camera: Camera) -> None:
    """Draw the occluder, if there is one. Its pixels are background in the mask."""
    x = (2 * camera.occluder_x - 1) * DOLL_HALF_WIDTH * 0.8
    top = DOLL_HEIGHT * (1 - camera.occluder_height)
    if camera.occluder == "pole":
        pen.block(x - 3.5, -100, x + 3.5, 200, (112, 114, 118))
        pen.block(x - 3.5, -100, x - 1.5, 200, (150, 152, 156))
    elif camera.occluder == "box":
        pen.block(x - 17, top + 12, x + 17, 200, (168, 140, 104))
        pen.block(x - 17, top + 12, x + 17, top + 16, (140, 112, 80))
    elif camera.occluder == "plant":
        for step in range(9):
            leaf = (x + 11 * ((step * 5) % 9 / 4 - 1), top + 8 + 4.5 * step)
            pen.ellipse(leaf, (5.5, 7.5), (70, 104 + 6 * (step % 4), 62))
        pen.block(x - 9, 92, x + 9, 200, (140, 96, 74))
