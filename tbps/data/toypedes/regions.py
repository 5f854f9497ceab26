"""Region marks: sentences are built with `<3:black trousers>` in them, and read back as text and spans.

The body regions that masks and caption spans name.
"""

from __future__ import annotations

import re
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


Span = tuple[int, int, int]  # first character, character after the last, region

MARK = re.compile(r"<(\d):([^<>]*)>")


def mark(region: Region, words: str) -> str:
    """`words` marked as speaking of `region`; plain for the background."""
    return words if region == Region.BACKGROUND else f"<{int(region)}:{words}>"


def unmark(marked: str) -> tuple[str, list[Span]]:
    """The text without its marks, and the spans of the marked words in it, in the order of the text."""
    text, spans, done = "", [], 0
    for found in MARK.finditer(marked):
        text += marked[done : found.start()]
        spans.append((len(text), len(text) + len(found[2]), int(found[1])))
        text += found[2]
        done = found.end()
    return text + marked[done:], spans
