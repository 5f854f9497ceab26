"""Text that somebody else wrote (names of files, metadata, a gallery's model), made safe to look at."""

from unicodedata import category


def printable(text: str) -> str:
    """One line of text without what would steer a terminal or turn the order of letters: control characters, line
    breaks, bidirectional overrides and letters of no width are spelt out, as `\\x1b` and `\\u202e`.

    Of a file name that is not UTF-8 the bytes at fault are shown, as `photo \\xe9.jpg`.
    """
    return text if text.isprintable() else "".join(map(_spelt, text))


def printable_lines(text: str) -> str:
    """The same for text of several lines, whose line breaks stay."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _spelt(letter: str) -> str:
    if letter.isprintable() or category(letter) == "Zs":  # spaces of any script
        return letter
    foreign = 0xDC80 <= ord(letter) <= 0xDCFF  # how Python spells a byte of a name that is no UTF-8
    return f"\\x{ord(letter) - 0xDC00:02x}" if foreign else ascii(letter)[1:-1]
