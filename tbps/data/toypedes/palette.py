"""The colours that captions can name, far enough apart to survive camera light and a resize to 64 x 32."""

from __future__ import annotations

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "black": (24, 24, 28),
    "white": (242, 242, 240),
    "grey": (136, 138, 142),
    "blue": (30, 66, 186),
    "red": (204, 24, 34),
    "green": (28, 138, 58),
    "brown": (112, 64, 28),
    "pink": (250, 138, 190),
    "purple": (122, 40, 160),
    "yellow": (246, 214, 36),
    "orange": (246, 124, 16),
}
HAIR: dict[str, RGB] = {
    "black": (26, 22, 22),
    "brown": (104, 60, 28),
    "blond": (240, 206, 104),
    "grey": (176, 176, 180),
    "red": (190, 74, 24),
}
SKIN: dict[str, RGB] = {
    "light": (250, 214, 184),
    "tan": (222, 172, 128),
    "dark": (138, 90, 60),
}


def luminance(colour: RGB) -> float:
    """Perceived brightness in 0..255 (Rec. 601 weights)."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue


def shade(colour: RGB, amount: float = 0.28) -> RGB:
    """The same colour a step darker (a step lighter where it is dark), for seams, pockets and hems."""
    if luminance(colour) < 60:
        return mix(colour, (255, 255, 255), amount * 0.8)
    return mix(colour, (0, 0, 0), amount)


def contrast(colour: RGB) -> RGB:
    """White, or a dark grey for light colours: for collars, soles and other trimmings."""
    return (70, 70, 76) if luminance(colour) > 170 else (240, 240, 238)


def mix(one: RGB, other: RGB, share: float) -> RGB:
    """`one` with `share` (0..1) of `other` mixed in."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue
