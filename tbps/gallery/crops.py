"""What an image and its box look like where the gallery is one of person crops."""

import logging
from collections.abc import Sequence
from typing import Any

from tbps.data.images import BadImageError

logger = logging.getLogger(__name__)

# Height by width. A person who stands is 2 to 4 times as high as wide in a tight crop, one who sits or is cut off at
# the waist a little over once; beyond both ends lie full frames, squares (logos, things) and strips. The bounds are
# chosen so, not measured.
LEAST_SHAPE, MOST_SHAPE = 1.1, 6.0
ORDER = "left, top, right, bottom (of x, y, width, height it is x, y, x + width, y + height)"
_FURTHEST = 2**31  # pixels
_NAMED = 3  # images that the warning names


def is_crop_shaped(size: tuple[int, int]) -> bool:
    """Whether an image of (width, height) is shaped like the crop of a person."""
    return LEAST_SHAPE <= size[1] / size[0] <= MOST_SHAPE


def warn_of_shapes(names: Sequence[str], total: int) -> None:
    """Say in the log which images are not shaped like crops of people, if there are some."""
    if names:
        more = ", ..." if len(names) > _NAMED else ""
        logger.warning(
            "%d of %d new images are not shaped like crops of one person (%g to %g times as high as wide): %s%s. "
            "Scores of full frames and of other things mean little: detect and crop people first.",
            *(len(names), total, LEAST_SHAPE, MOST_SHAPE, ", ".join(names[:_NAMED]), more),
        )


def check_box(where: str, box: Any) -> None:
    """
    Refuse a box that is none, or whose sides are in another order.

    Raises:
        TypeError: it is not four numbers. ValueError: it is empty, turned over, or in shares of the image.
    """
    if box is None:
        return
    sides = box if isinstance(box, list | tuple) else ()
    plain = all(isinstance(side, int | float) and not isinstance(side, bool) for side in sides)
    if len(sides) != 4 or not plain or not all(abs(side) <= _FURTHEST for side in sides):
        raise TypeError(f"{where}: box={box!r}, expected four numbers: {ORDER}.")
    left, top, right, bottom = sides
    if left >= right or top >= bottom:
        raise ValueError(f"{where}: box={box!r} has no area: expected {ORDER}.")
    if all(0 <= side <= 1 for side in sides):
        raise ValueError(
            f"{where}: box={box!r} lies within one pixel: expected {ORDER}, in pixels. Where these are shares of the "
            "image, multiply them by its width and height."
        )


def check_box_fits(name: str, box: Sequence[float] | None, size: tuple[int, int]) -> None:
    """
    Refuse a box that is neither within its image nor of its size, as the place is that a crop was cut from.

    Args:
        size: (width, height) of the upright image, in pixels. One pixel more or less is rounding; so are two, and two
            in a hundred, between a crop and its place in the frame.

    Raises:
        BadImageError: it is neither.
    """
    if box is None:
        return
    left, top, right, bottom = box
    within = left >= -1 and top >= -1 and right <= size[0] + 1 and bottom <= size[1] + 1
    sides = zip((right - left, bottom - top), size, strict=True)
    if not within and not all(abs(side - pixels) <= max(2, 0.02 * pixels) for side, pixels in sides):
        raise BadImageError(
            f"{name}: box={list(box)} is neither within this image of {size[0]} x {size[1]} pixels nor of its size. "
            f"Expected {ORDER}, of a person in the image, or of the image in the frame that it was cut from; where it "
            "was resized since, keep the box under another name."
        )
