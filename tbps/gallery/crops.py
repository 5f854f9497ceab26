"""Check that images and their boxes look like crops of people."""

import logging
from collections.abc import Sequence
from typing import Any

from tbps.data.images import BadImageError

logger = logging.getLogger(__name__)

# Height divided by width. In a tight crop, a standing person is 2 to 4 times as high as wide; one who sits, or is cut
# off at the waist, a little over once. Full frames, squares (logos, objects) and strips lie outside of the bounds. The
# bounds are a choice, not a measurement.
MIN_ASPECT, MAX_ASPECT = 1.1, 6.0
ORDER = "left, top, right, bottom (of x, y, width, height it is x, y, x + width, y + height)"
_MAX_COORDINATE = 2**31  # pixels
_NAMED = 3  # images that the warning names


def is_crop_shaped(size: tuple[int, int]) -> bool:
    """Whether an image of size (width, height) is shaped like the crop of a person."""
    return MIN_ASPECT <= size[1] / size[0] <= MAX_ASPECT


def warn_of_shapes(names: Sequence[str], total: int) -> None:
    """Log a warning that names the images that are not shaped like crops of people."""
    if names:
        more = ", ..." if len(names) > _NAMED else ""
        logger.warning(
            "%d of %d new images are not shaped like crops of one person (%g to %g times as high as wide): %s%s. "
            "Scores of full frames and of objects mean little: detect and crop people first.",
            *(len(names), total, MIN_ASPECT, MAX_ASPECT, ", ".join(names[:_NAMED]), more),
        )


def check_box(where: str, box: Any) -> None:
    """
    Refuse an invalid box, or one whose sides are in another order.

    Args:
        where: the name of the metadata in error messages.

    Raises:
        TypeError: not four numbers.
        ValueError: the box is empty or flipped, or is given in fractions of the image.
    """
    if box is None:
        return
    sides = box if isinstance(box, list | tuple) else ()
    plain = all(isinstance(side, int | float) and not isinstance(side, bool) for side in sides)
    if len(sides) != 4 or not plain or not all(abs(side) <= _MAX_COORDINATE for side in sides):
        raise TypeError(f"{where}: box={box!r}, expected four numbers: {ORDER}.")
    left, top, right, bottom = sides
    if left >= right or top >= bottom:
        raise ValueError(f"{where}: box={box!r} has no area: expected {ORDER}.")
    if all(0 <= side <= 1 for side in sides):
        raise ValueError(
            f"{where}: box={box!r} lies within one pixel: expected {ORDER}, in pixels. If these are fractions of the "
            "image, multiply them by its width and height."
        )


def check_box_fits(name: str, box: Sequence[float] | None, size: tuple[int, int]) -> None:
    """
    Refuse a box that neither lies within its image nor has the image's size, as that of a crop in its frame has.

    Args:
        name: the name of the image in error messages.
        size: (width, height) of the upright image, in pixels. The tolerance for rounding is one pixel within the image,
            and two pixels or 2 % between the sizes of a crop and of its box.

    Raises:
        BadImageError: the box does not match the image.
    """
    if box is None:
        return
    left, top, right, bottom = box
    within = left >= -1 and top >= -1 and right <= size[0] + 1 and bottom <= size[1] + 1
    sides = zip((right - left, bottom - top), size, strict=True)
    if not within and not all(abs(side - pixels) <= max(2, 0.02 * pixels) for side, pixels in sides):
        raise BadImageError(
            f"{name}: box={list(box)} is neither within this image of {size[0]} x {size[1]} pixels nor of its size. "
            f"Expected {ORDER}, of a person in the image, or of the image in the frame that it was cut from. If the "
            "image was resized since, store the box under another name."
        )
