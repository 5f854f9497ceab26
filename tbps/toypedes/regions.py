"""The body regions that masks and caption spans name."""

from __future__ import annotations

from enum import IntEnum


class Region(IntEnum):
    """What a mask pixel or a stretch of caption belongs to. The numbers are written to disk: never renumber them."""

    BACKGROUND = 0  # everything that is not the person, things in front of the person included
    HEAD = 1  # face, neck, hair, hat
    UPPER = 2  # upper garment, arms
    LOWER = 3  # lower garment, bare legs
    SHOES = 4  # footwear, the feet in it
    BAG = 5  # bag and straps


BODY = (Region.HEAD, Region.UPPER, Region.LOWER, Region.SHOES, Region.BAG)
