"""Result sheets: queries and their hits, drawn as one PNG image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont, ImageOps

from tbps.data.atomic_files import write_atomically
from tbps.data.paths import local_path
from tbps.files_tbps import printable
from tbps.report.results import QueryResult, RankedHit

# pixels
_MARGIN, _GAP = 32, 12
_CELL_WIDTH, _CELL_HEIGHT = 128, 256
_CAPTION_HEIGHT, _LINE_HEIGHT = 34, 34
_FRAME = 5

_INK, _FAINT, _EMPTY = "#1f2328", "#59636e", "#eef0f2"
_MARKS = {True: ("#1a7f37", "✓"), False: ("#cf222e", "✗"), None: ("#d1d9e0", "")}


@dataclass(frozen=True)
class _Fonts:
    query: ImageFont.FreeTypeFont
    caption: ImageFont.FreeTypeFont

    @classmethod
    def load(cls, font: str | Path | None) -> "_Fonts":
        # part of matplotlib; covers Latin, Greek, Cyrillic, Arabic and Hebrew, but not Chinese
        file = font or Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
        return cls(ImageFont.truetype(str(file), 24), ImageFont.truetype(str(file), 17))


def write_search_sheet(
    path: str | Path, results: Sequence[QueryResult], *, columns: int = 10, font: str | Path | None = None
) -> None:
    """Draw each query above its hits, with rank and score below each image.

    Right hits have a green frame, wrong ones a red one.

    Args:
        path: The PNG file to write.
        results: One or more queries with their hits.
        columns: Images per row.
        font: A TrueType file for scripts that the built-in DejaVu Sans lacks (Chinese, Japanese, Korean).

    Raises:
        ValueError: There are no results, or columns < 1.
    """
    if not results:
        raise ValueError("There are no results to draw: give at least one QueryResult.")
    if columns < 1:
        raise ValueError(f"columns must be 1 or more, got {columns}.")
    fonts = _Fonts.load(font)
    columns = max(4, min(columns, max(len(result.hits) for result in results)))  # queries need some width
    width = 2 * _MARGIN + columns * (_CELL_WIDTH + _GAP) - _GAP
    blocks = [_draw_result(result, width, columns, fonts) for result in results]
    sheet = Image.new("RGB", (width, sum(block.height for block in blocks) + _MARGIN), "white")
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    file = BytesIO()
    sheet.save(file, format="PNG")
    path = local_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, file.getbuffer())


def _draw_result(result: QueryResult, width: int, columns: int, fonts: _Fonts) -> Image.Image:
    lines = [(line, _INK, fonts.query) for line in wrap(result.query, fonts.query, width - 2 * _MARGIN)]
    lines += [(line, _FAINT, fonts.caption) for line in wrap(result.note or "", fonts.caption, width - 2 * _MARGIN)]
    lines += [] if result.hits else [("no images", _FAINT, fonts.caption)]
    head = _MARGIN + len(lines) * _LINE_HEIGHT + _GAP
    row_height = _CELL_HEIGHT + _CAPTION_HEIGHT + _GAP
    rows = -(-len(result.hits) // columns)
    block = Image.new("RGB", (width, head + rows * row_height), "white")
    draw = ImageDraw.Draw(block)
    for index, (line, colour, font) in enumerate(lines):
        draw.text((_MARGIN, _MARGIN + index * _LINE_HEIGHT), line, colour, font)
    for index, (hit, mark) in enumerate(zip(result.hits, result.marks(), strict=True)):
        left = _MARGIN + index % columns * (_CELL_WIDTH + _GAP)
        top = head + index // columns * row_height
        _draw_hit(block, (left, top), hit, index + 1, mark, fonts.caption)
    return block


def _draw_hit(
    block: Image.Image,
    corner: tuple[int, int],
    hit: RankedHit,
    rank: int,
    mark: bool | None,
    font: ImageFont.FreeTypeFont,
) -> None:
    left, top = corner
    colour, sign = _MARKS[mark]
    draw = ImageDraw.Draw(block)
    box = (left, top, left + _CELL_WIDTH - 1, top + _CELL_HEIGHT - 1)
    draw.rectangle(box, fill=_EMPTY)
    image, remark = hit.load_image()
    if image is None:
        middle = (left + _CELL_WIDTH // 2, top + _CELL_HEIGHT // 2)
        lines = "\n".join(wrap(remark, font, _CELL_WIDTH))
        draw.multiline_text(middle, lines, _FAINT, font, anchor="mm", align="center")
    else:
        # never cropped: the edges show bags and shoes
        fitted = ImageOps.contain(image, (_CELL_WIDTH, _CELL_HEIGHT), Image.Resampling.BICUBIC)
        block.paste(fitted, (left + (_CELL_WIDTH - fitted.width) // 2, top + (_CELL_HEIGHT - fitted.height) // 2))
    draw.rectangle(box, outline=colour, width=1 if mark is None else _FRAME)
    baseline = top + _CELL_HEIGHT + _CAPTION_HEIGHT // 2
    draw.text((left, baseline), f"{rank}", _INK, font, anchor="lm")
    beside = left + font.getlength(f"{rank}  ")
    draw.text((beside, baseline), sign, colour, font, anchor="lm")  # right and wrong do not differ by colour alone
    draw.text((left + _CELL_WIDTH, baseline), f"{hit.score:.3f}", _FAINT, font, anchor="rm")


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break text into lines of at most `width` pixels, between words or inside a word that is longer than a line."""
    lines: list[str] = []
    for word in map(printable, text.split()):
        for piece in _pieces(word, font, width):
            longer = f"{lines[-1]} {piece}" if lines else piece
            if lines and font.getlength(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(piece)
    return lines


def _pieces(word: str, font: ImageFont.FreeTypeFont, width: int) -> Iterator[str]:
    piece = ""
    for letter in word:
        if piece and font.getlength(piece + letter) > width:
            yield piece
            piece = ""
        piece += letter
    yield piece
