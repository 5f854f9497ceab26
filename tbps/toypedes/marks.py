"""Region marks: sentences are built with `<3:black trousers>` in them, and read back as text and spans."""

from __future__ import annotations

import re

from tbps.toypedes.regions import Region

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
