"""Result sheets, pages and curves: their content, and that untrusted text stays text."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image, ImageFont

from tbps.gallery import Hit
from tbps.report import QueryResult, RankedImage, write_demo_report, write_search_page, write_search_sheet
from tbps.report.curves import draw_curve, training_curves
from tbps.report.sheets import wrap

HOSTILE = "<script>alert('x')</script> & \"a\" $\\frac{1}{0}$ {{ 7 * 7 }}"
HISTORY = [
    {"loss": 3.0, "epoch": 0.5, "step": 5},
    {"eval_rank_1": 0.25, "epoch": 1.0, "step": 10},
    {"loss": 2.0, "epoch": 1.5, "step": 15},
    {"train_loss": 2.5, "epoch": 2.0, "step": 20},
]


class Page(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data

    def sources(self):
        return [
            value for name, value in self.attributes if name in ("src", "srcset", "href", "action", "data", "poster")
        ]


@pytest.fixture
def crop(tmp_path):
    path = tmp_path / "crop.png"
    Image.new("RGB", (50, 100), "red").save(path)
    return str(path)


@pytest.fixture
def results(crop, tmp_path):
    """An image on disk, one in memory, one that is gone, one that was never on disk."""
    hits = [
        Hit(crop, 0.75, crop, {"person_id": 7, HOSTILE: HOSTILE}, image=Path(crop)),
        RankedImage(0.5, image=Image.new("L", (90, 30), 200), id=HOSTILE),
        Hit("gone", 0.25, str(tmp_path / "<u>gone.png"), {}, image=tmp_path / "<u>gone.png"),
        RankedImage(0.125, id="0123456789abcdef"),
    ]
    return [QueryResult("a red coat", hits, [True, False, False, True], note="two images"), QueryResult(HOSTILE, hits)]


def write_report(path, results, **more):
    metrics = {"rank_1": 0.713, "mAP": 0.5, "own": 1.0}
    facts = {"people": 40, HOSTILE: HOSTILE}
    write_demo_report(path, metrics=metrics, history=HISTORY, results=results, facts=facts, **more)


@pytest.mark.parametrize("write", [write_search_page, write_report])
def test_pages_are_self_contained_and_text_stays_text(tmp_path, results, write):
    write(tmp_path / "new" / "page.html", results, title=HOSTILE)
    page = Page(tmp_path / "new" / "page.html")
    assert not {"script", "link", "iframe", "object", "form", "u"} & set(page.tags)
    assert page.text.count(HOSTILE) >= 4
    assert page.sources()
    assert all(source.startswith("data:image/") for source in page.sources())
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "url(" not in page.text
    assert "@import" not in page.text


def test_search_page_shows_ranks_scores_paths_and_metadata(tmp_path, results):
    write_search_page(tmp_path / "page.html", results)
    page = Page(tmp_path / "page.html")
    assert page.tags.count("img") == 4
    for shown in (
        "a red coat",
        "two images",
        "0.750",
        "0.125",
        "crop.png",
        "person_id",
        "7",
        "no image",
        "0123456789ab",
    ):
        assert shown in page.text, shown
    assert page.text.count("no image") == 4
    assert page.text.count("✓") == page.text.count("✗") == 2


def test_search_page_without_hits(tmp_path):
    write_search_page(tmp_path / "page.html", [QueryResult("nobody", [])])
    assert "no images" in Page(tmp_path / "page.html").text


def test_report_shows_metrics_marks_curves_and_facts(tmp_path, results):
    path = tmp_path / "report.html"
    write_report(
        path,
        results,
        chance={"rank_1": 0.02},
        ceiling={"rank_1": 0.9},
        about=["Trained on dolls."],
        next_steps=[("Go on:", "tbps train --more")],
    )
    page = Page(path)
    text = page.text.replace("\xa0", " ")
    for shown in ("R@1", "71.3 %", "chance 2.0 %", "ceiling 90.0 %", "mAP", "own", "Training loss", "R@1, validation"):
        assert shown in text, shown
    assert "Trained on dolls." in text
    assert "tbps train --more" in text
    assert text.count("ceiling 90.0") == text.count("chance 2.0") == 1
    assert page.tags.count("source") == 2, "a light and a dark drawing of each of the two curves"


def test_report_of_a_run_without_logs(tmp_path):
    write_demo_report(tmp_path / "report.html", metrics={}, history=[], results=[], facts={})
    text = Page(tmp_path / "report.html").text
    assert "Results" in text
    assert "Training" not in text
    assert "Example queries" not in text


def test_sheet_is_as_high_as_its_rows(tmp_path, results):
    write_search_sheet(tmp_path / "one.png", results[:1])
    write_search_sheet(tmp_path / "new" / "two.png", results)
    one, two = Image.open(tmp_path / "one.png"), Image.open(tmp_path / "new" / "two.png")
    with one, two:
        assert one.width == two.width
        assert one.height < two.height < 2.2 * one.height


def test_a_sheet_without_hits_is_not_empty(tmp_path, results):
    write_search_sheet(tmp_path / "none.png", [QueryResult("nobody", [])])
    write_search_sheet(tmp_path / "some.png", [QueryResult("nobody", results[0].hits)])
    with Image.open(tmp_path / "none.png") as none, Image.open(tmp_path / "some.png") as some:
        below = none.convert("L").crop((0, 66, none.width, none.height))  # the sentence is one line
        assert below.getextrema()[0] < 128
        assert none.height < some.height


def test_sheet_frames_right_and_wrong(tmp_path, results):
    write_search_sheet(tmp_path / "marked.png", results[:1])
    write_search_sheet(tmp_path / "plain.png", [QueryResult("a red coat", results[0].hits)])
    green, red = (26, 127, 55), (207, 34, 46)
    with Image.open(tmp_path / "marked.png") as marked, Image.open(tmp_path / "plain.png") as plain:
        assert {green, red} <= {colour for _, colour in marked.getcolors(1 << 20)}
        assert not {green, red} & {colour for _, colour in plain.getcolors(1 << 20)}


def test_more_hits_than_columns_start_a_new_row(tmp_path, crop):
    hits = [Hit(crop, 0.5, crop, {})] * 9
    write_search_sheet(tmp_path / "wide.png", [QueryResult("x", hits)])
    write_search_sheet(tmp_path / "high.png", [QueryResult("x", hits)], columns=5)
    with Image.open(tmp_path / "wide.png") as wide, Image.open(tmp_path / "high.png") as high:
        assert high.width < wide.width
        assert high.height > 1.5 * wide.height


def test_bad_arguments_are_refused(tmp_path, crop):
    with pytest.raises(ValueError, match="no results"):
        write_search_sheet(tmp_path / "sheet.png", [])
    with pytest.raises(ValueError, match="columns must be 1 or more, got 0"):
        write_search_sheet(tmp_path / "sheet.png", [QueryResult("x", [])], columns=0)
    with pytest.raises(ValueError, match="1 relevant flags for 2 hits"):
        QueryResult("x", [Hit(crop, 0.5, crop, {})] * 2, [True])


@pytest.mark.parametrize("write", [write_search_page, write_search_sheet])
def test_a_report_that_cannot_be_written_leaves_the_old_one_and_is_named(tmp_path, full_disk, write):
    (tmp_path / "hits").write_text("old")
    with pytest.raises(OSError, match=r"File too large: '.*hits'"):
        write(tmp_path / "hits", [QueryResult("nobody", [])])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_lines_fit_and_no_letter_is_lost():
    font = ImageFont.load_default(20)
    text = "a man in a red jacket   with averyveryverylongwordthatfitsnowhere and $5"
    lines = wrap(text, font, 120)
    assert all(font.getlength(line) <= 120 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert wrap("  ", font, 120) == []


def test_curves_come_from_the_log():
    loss, rank_1 = training_curves(HISTORY)
    assert loss.points == [(0.5, 3.0), (1.5, 2.0)]
    assert (rank_1.points, rank_1.percent) == ([(1.0, 0.25)], True)
    assert training_curves([{"loss": 1.0, "step": 3}])[0].points == [(3.0, 1.0)]
    assert training_curves([{"train_loss": 1.0}]) == []


def test_a_drawing_is_an_svg_and_the_dark_one_differs():
    curve = training_curves(HISTORY)[0]
    light, dark = draw_curve(curve), draw_curve(curve, dark=True)
    assert b"<svg" in light
    assert light != dark
