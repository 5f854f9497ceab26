"""Result sheets: sentences and the images found for them, as one PNG."""

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
    sentence: ImageFont.FreeTypeFont
    caption: ImageFont.FreeTypeFont

    @classmethod
    def load(cls, font: str | Path | None) -> "_Fonts":
        # matplotlib brings it along; it has Latin, Greek, Cyrillic, Arabic and Hebrew, but no Chinese
        file = font or Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
        return cls(ImageFont.truetype(str(file), 24), ImageFont.truetype(str(file), 17))


def write_search_sheet(
    path: str | Path, results: Sequence[QueryResult], *, columns: int = 10, font: str | Path | None = None
) -> None:
    """
    Draw each sentence over its images, with rank and score under them; right ones framed green, wrong ones red.

    Args:
        path: the PNG to write.
        results: one or more sentences with their hits.
        columns: images in a row; more hits go on in the next row.
        font: a TrueType file, for scripts that the built-in DejaVu Sans lacks (Chinese, Japanese, Korean).

    Raises:
        ValueError: no results, or columns < 1.
    """
    if not results:
        raise ValueError("There are no results to draw: give at least one QueryResult.")
    if columns < 1:
        raise ValueError(f"columns={columns}: expected 1 or more.")
    fonts = _Fonts.load(font)
    columns = max(4, min(columns, max(len(result.hits) for result in results)))  # sentences need some width
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
    lines = [(line, _INK, fonts.sentence) for line in wrap(result.query, fonts.sentence, width - 2 * _MARGIN)]
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
    picture, remark = hit.load_image()
    if picture is None:
        middle = (left + _CELL_WIDTH // 2, top + _CELL_HEIGHT // 2)
        lines = "\n".join(wrap(remark, font, _CELL_WIDTH))
        draw.multiline_text(middle, lines, _FAINT, font, anchor="mm", align="center")
    else:
        # whole, never cut: the edges show bags and shoes
        fitted = ImageOps.contain(picture, (_CELL_WIDTH, _CELL_HEIGHT), Image.Resampling.BICUBIC)
        block.paste(fitted, (left + (_CELL_WIDTH - fitted.width) // 2, top + (_CELL_HEIGHT - fitted.height) // 2))
    draw.rectangle(box, outline=colour, width=1 if mark is None else _FRAME)
    baseline = top + _CELL_HEIGHT + _CAPTION_HEIGHT // 2
    draw.text((left, baseline), f"{rank}", _INK, font, anchor="lm")
    beside = left + font.getlength(f"{rank}  ")
    draw.text((beside, baseline), sign, colour, font, anchor="lm")  # right and wrong differ not by colour alone
    draw.text((left + _CELL_WIDTH, baseline), f"{hit.score:.3f}", _FAINT, font, anchor="rm")


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of at most `width` pixels, broken between words, or inside one that is longer than a line."""
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
