from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from tbps.data.toypedes.attributes import LAYERED, NONE, VALUES, Person, draw_person
from tbps.data.toypedes.camera import Camera, camera_names, draw_camera
from tbps.data.toypedes.drawing import COLOURS
from tbps.data.toypedes.people import region_pixels, visible_regions
from tbps.data.toypedes.regions import BODY, Region
from tbps.data.toypedes.render import paint, render

CHANGES = {
    "shoes": Region.SHOES,
    "shoes_colour": Region.SHOES,
    "lower": Region.LOWER,
    "lower_colour": Region.LOWER,
    "upper_colour": Region.UPPER,
    "hair_colour": Region.HEAD,
    "hat_colour": Region.HEAD,
    "bag_colour": Region.BAG,
}


def camera_of(person: int, image: int = 0) -> Camera:
    return draw_camera(0, person, image, camera_names(0, person, image + 1)[image])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5000), st.sampled_from(sorted(CHANGES)), st.integers(0, 100))
def test_a_change_of_one_region_changes_no_pixel_elsewhere(number: int, name: str, choice: int) -> None:
    person, camera = draw_person(0, number), camera_of(number)
    others = [value for value in VALUES[name] if value not in (NONE, getattr(person, name))]
    assume(getattr(person, name) != NONE)
    changed_person = replace(person, **{name: others[choice % len(others)]})
    (before, before_mask), (after, after_mask) = paint(person, camera), paint(changed_person, camera)
    changed = np.any(np.asarray(before) != np.asarray(after), axis=-1)
    inside = (np.asarray(before_mask) == CHANGES[name]) | (np.asarray(after_mask) == CHANGES[name])
    assert not np.any(changed & ~inside)
    if name.endswith("_colour"):
        assert np.array_equal(before_mask, after_mask)
    # light, noise and smoothing keep the change where it was painted
    seen = np.any(np.asarray(render(person, camera)[0]) != np.asarray(render(changed_person, camera)[0]), axis=-1)
    assert not np.any(seen & ~changed.reshape(128, 2, 64, 2).any(axis=(1, 3)))


def test_the_mask_agrees_with_the_painted_one() -> None:
    for number in range(20):
        person, camera = draw_person(0, number), camera_of(number)
        mask, fine = (np.asarray(which(person, camera)[1]) for which in (render, paint))
        blocks = fine.reshape(128, 2, 64, 2).transpose(0, 2, 1, 3).reshape(128, 64, 4)
        assert np.all(np.any(blocks == mask[..., None], axis=-1))


def test_rendering_is_pure() -> None:
    first, second = (render(draw_person(0, 3), camera_of(3)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_regions_are_seen_in_nearly_all_clear_images() -> None:
    missing = total = 0
    for number in range(60):
        person = draw_person(0, number)
        for image in range(3):
            camera = replace(camera_of(number, image), occluder="none")
            pixels = region_pixels(render(person, camera)[1])
            worn = [region for region in BODY if region != Region.BAG or person.bag != NONE]
            missing += sum(pixels[region] < 40 for region in worn)
            total += len(worn)
    assert missing <= 0.01 * total


def test_place_and_size_vary() -> None:
    centres, heights = [], []
    for number in range(80):
        camera = replace(camera_of(number), occluder="none")
        rows, columns = np.nonzero(
            np.asarray(render(replace(draw_person(0, number), bag=NONE, bag_colour=NONE), camera)[1])
        )
        centres.append(columns.mean())
        heights.append(np.ptp(rows))
    assert np.std(centres) > 3.5
    assert max(centres) - min(centres) > 14
    assert max(heights) > 1.25 * min(heights)


def test_what_is_hidden_is_not_visible() -> None:
    person = replace(draw_person(0, 1), hat=NONE, hat_colour=NONE)
    clear = replace(camera_of(1), occluder="none")
    box = replace(clear, occluder="box", occluder_x=0.5, occluder_height=0.45)
    assert {Region.HEAD, Region.UPPER, Region.LOWER, Region.SHOES} <= visible_regions(
        person, clear, render(person, clear)[1]
    )
    seen = visible_regions(person, box, render(person, box)[1])
    assert Region.SHOES not in seen
    assert {Region.HEAD, Region.UPPER} <= seen


@pytest.mark.parametrize("name", ["gender", "hair_length", "hat", "upper", "pattern", "lower", "shoes", "bag"])
@pytest.mark.parametrize("view", ["front", "back"])
def test_any_two_values_look_different_at_training_size(name: str, view: str) -> None:
    camera = replace(camera_of(7), view=view, occluder="none", scale=0.84, noise=0.0)
    looks = {value: small(dressed(name, value), camera) for value in VALUES[name]}
    for one, other in combinations(looks, 2):
        distinct = np.abs(looks[one] - looks[other]).max(axis=-1) > 30
        assert distinct.sum() >= 6, (one, other)


@pytest.mark.parametrize("cam", ["cam_a", "cam_b", "cam_c", "cam_d"])
def test_any_two_colours_look_different_in_every_camera(cam: str) -> None:
    person = dressed("upper", "sweater")
    camera = replace(draw_camera(0, 0, 0, cam), occluder="none", noise=0.0)
    looks = {colour: small(replace(person, upper_colour=colour), camera) for colour in COLOURS}
    for one, other in combinations(looks, 2):
        distinct = np.abs(looks[one] - looks[other]).max(axis=-1) > 30
        assert distinct.sum() >= 60, (one, other)


def small(person: Person, camera: Camera) -> np.ndarray:
    """The picture at 64 x 32 pixels, (64, 32, 3) float."""
    return np.asarray(render(person, camera)[0].resize((32, 64), Image.Resampling.BILINEAR), dtype=float)


def dressed(name: str, value: str) -> Person:
    """A plain person with one attribute set, and with the colours that it needs."""
    looks = {
        "gender": "woman",
        "skin": "light",
        "hair_length": "short",
        "hair_colour": "black",
        "hat": NONE,
        "hat_colour": NONE,
        "upper": "sweater",
        "upper_colour": "red",
        "pattern": "plain",
        "pattern_colour": NONE,
        "inner_colour": NONE,
        "lower": "trousers",
        "lower_colour": "blue",
        "shoes": "trainers",
        "shoes_colour": "black",
        "bag": NONE,
        "bag_colour": NONE,
    } | {name: value}
    looks["hair_colour"] = NONE if value == "bald" else "black"
    looks["hat_colour"] = NONE if looks["hat"] == NONE else "green"
    looks["bag_colour"] = NONE if looks["bag"] == NONE else "yellow"
    looks["pattern_colour"] = NONE if looks["pattern"] == "plain" else "white"
    looks["inner_colour"] = "white" if looks["upper"] in LAYERED else NONE
    return Person(**looks)
