"""Camera parameters of an image: view, position, scale, pose, light, background and occlusion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tbps.data.toypedes.random_streams import Stream, pick, stream

WIDTH, HEIGHT = 64, 128  # pixels
DOLL_HEIGHT = 100.0  # the doll's own units, crown to sole
HAT_ROOM = 6.0  # doll units above the crown
DOLL_HALF_WIDTH = 19.0  # shoulders and arms of the broadest doll; the frame may cut a bag that reaches further

OCCLUDERS = {"none": 0.82, "pole": 0.07, "plant": 0.06, "box": 0.05}


@dataclass(frozen=True)
class Site:
    """The properties that all images of one camera share: its scenes and its ranges of light."""

    scenes: dict[str, float]
    brightness: tuple[float, float]
    contrast: tuple[float, float]
    tint: tuple[float, float, float]
    noise: float


SITES: dict[str, Site] = {
    "cam_a": Site({"street": 0.7, "wall": 0.3}, (0.95, 1.15), (0.95, 1.15), (1.0, 1.0, 1.0), 3.0),
    "cam_b": Site({"corridor": 0.8, "wall": 0.2}, (0.78, 0.95), (0.85, 1.0), (1.06, 1.0, 0.92), 5.0),
    "cam_c": Site({"tiles": 0.6, "corridor": 0.4}, (0.9, 1.1), (0.9, 1.1), (0.94, 1.0, 1.06), 3.0),
    "cam_d": Site({"park": 0.7, "street": 0.3}, (0.85, 1.2), (1.0, 1.2), (1.03, 1.02, 0.95), 4.0),
}


@dataclass(frozen=True)
class Camera:
    """The parameters of one image. Together with a `Person` they determine every pixel."""

    name: str
    view: str  # "front" or "back"
    mirrored: bool
    scale: float  # pixels per doll unit; the doll is 100 units high
    x: float  # pixels, of the doll's middle
    y: float  # pixels, of the doll's crown
    stride: float  # -1..1, which foot is lifted and how far
    swing: float  # -1..1, how far the hands are from the hips
    scene: str
    scene_seed: int
    occluder: str
    occluder_x: float  # 0..1 across the doll's width
    occluder_height: float  # 0..1 of the doll's height, counted from the soles
    brightness: float
    contrast: float
    tint: tuple[float, float, float]
    noise: float  # standard deviation, grey levels of 255
    noise_seed: int


def camera_names(seed: int, person: int, images: int) -> list[str]:
    """Choose a camera for each image of a person, all different until there are more images than cameras."""
    order = stream(seed, Stream.CAMERA_ORDER, person).permutation(len(SITES))
    names = list(SITES)
    return [names[order[image % len(names)]] for image in range(images)]


def draw_camera(seed: int, person: int, image: int, name: str) -> Camera:
    """Draw the parameters of image number `image` of person number `person`, taken by camera `name` of `SITES`."""
    rng = stream(seed, Stream.CAMERA, person, image)
    site = SITES[name]
    tint = tuple(float(t * rng.uniform(0.97, 1.03)) for t in site.tint)
    return Camera(
        name=name,
        view="front" if rng.random() < 0.65 else "back",
        mirrored=bool(rng.random() < 0.5),
        **_place(rng),
        stride=float(rng.uniform(-1, 1)),
        swing=float(rng.uniform(-1, 1)),
        scene=pick(rng, site.scenes),
        scene_seed=int(rng.integers(2**31)),
        occluder=pick(rng, OCCLUDERS),
        occluder_x=float(rng.random()),
        occluder_height=float(rng.uniform(0.2, 0.5)),
        brightness=float(rng.uniform(*site.brightness)),
        contrast=float(rng.uniform(*site.contrast)),
        tint=(tint[0], tint[1], tint[2]),
        noise=float(site.noise * rng.uniform(0.5, 1.5)),
        noise_seed=int(rng.integers(2**31)),
    )


def _place(rng: np.random.Generator) -> dict[str, float]:
    """Draw scale and position. They vary widely, so that attending to a fixed image position cannot work."""
    scale = float(rng.uniform(0.84, 1.16))
    reach = WIDTH / 2 - DOLL_HALF_WIDTH * scale
    x = WIDTH / 2 + float(rng.uniform(-1, 1)) * reach
    y = float(rng.uniform(HAT_ROOM * scale, HEIGHT - 2 - DOLL_HEIGHT * scale))
    return {"scale": scale, "x": x, "y": y}
