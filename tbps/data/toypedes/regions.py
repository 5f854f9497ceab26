"""The body regions of masks and caption spans, and the marks that tie words to a region.

Sentences are built with marks such as `<3:black trousers>`. `unmark` turns them into plain text and spans.
"""

from __future__ import annotations

import re
from enum import IntEnum


class Region(IntEnum):
    """The region of a mask pixel or of a span of a caption. The numbers are written to disk: never renumber them."""

    BACKGROUND = 0  # everything but the person, including occluders
    HEAD = 1  # face, neck, hair, hat
    UPPER = 2  # upper garment, arms
    LOWER = 3  # lower garment, bare legs
    SHOES = 4  # shoes and feet
    BAG = 5  # bag and straps


BODY = (Region.HEAD, Region.UPPER, Region.LOWER, Region.SHOES, Region.BAG)


Span = tuple[int, int, int]  # first character, character after the last, region

MARK = re.compile(r"<(\d):([^<>]*)>")


def mark(region: Region, words: str) -> str:
    """Mark words as describing `region`; the background needs no mark."""
    return words if region == Region.BACKGROUND else f"<{int(region)}:{words}>"


def unmark(marked: str) -> tuple[str, list[Span]]:
    """Remove the marks; return the text and the spans of the marked words in it, in text order."""
    text, spans, done = "", [], 0
    for found in MARK.finditer(marked):
        text += marked[done : found.start()]
        spans.append((len(text), len(text) + len(found[2]), int(found[1])))
        text += found[2]
        done = found.end()
    return text + marked[done:], spans
