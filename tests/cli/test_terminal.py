"""No text of a stranger (names of files, metadata, a model's name, a benchmark's entries) steers the terminal."""

import io
import json
import logging
import shutil
import sys
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from command_tree import all_commands
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny import make_rows

import demo
import train_hf
from tbps import TBPSModel, TBPSProcessor
from tbps.cli.main import build_parser, main
from tbps.cli.terminal import safe_streams, show, show_error
from tbps.files_tbps import printable, printable_lines
from tbps.gallery.checks import GalleryError
from tbps.report import QueryResult, RankedImage, write_search_page
from tbps.training.program import run

# a title, a cleared screen, a colour, letters that run backwards, one of no width, a hyperlink, lines of its own
HOSTILE = "\x1b]0;t\x07\x1b[2J\x9b31m\u202egnp\u200b\x1b]8;;x\x1b\\\x7f\u2028\r\ntbps: fine"
STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def steering(text: str) -> set[str]:
    """The characters of a text that would control a terminal, except line ends."""
    return {letter for letter in text if unicodedata.category(letter) in STEERING} - {"\n"}


@given(st.text(alphabet=st.characters()))
def test_any_text_becomes_one_harmless_line(text: str) -> None:
    assert not steering(printable(text)) | ({"\n"} & set(printable(text)))
    assert not steering(printable_lines(text))
    assert printable_lines(text).count("\n") == text.count("\n")
    assert printable(printable(text)) == printable(text)


@given(st.text(alphabet="aä漢 \u3000\xa0'\\"))
def test_letters_and_spaces_of_any_script_stay(text: str) -> None:
    assert printable(text) == text


class Screen(io.StringIO):
    """A stream that records its output and may pose as a terminal."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


@given(st.lists(st.text(alphabet=st.sampled_from("ab\n\r\t\x1b[A\u202e")), max_size=5), st.booleans())
def test_whatever_prints_prints_no_control_characters(pieces: list[str], is_terminal: bool) -> None:
    screen, before = Screen(is_terminal), (sys.stdout, sys.stderr)
    sys.stdout = sys.stderr = screen
    try:
        with safe_streams():
            for piece in pieces:
                print(piece)
                print(f"x{piece}", file=sys.stderr)
            sys.stdout.writelines(pieces)
            show("".join(pieces))
    finally:
        sys.stdout, sys.stderr = before
    assert not steering(screen.getvalue())


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_progress_bar_redraws_itself_on_a_terminal_only(is_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(is_terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    with safe_streams():
        sys.stderr.write("\r 5%|█\x1b[2J")
        sys.stderr.write("\x1b[A")
    assert screen.getvalue() == ("\r 5%|█\\x1b[2J\x1b[A" if is_terminal else "")


def test_a_message_cannot_look_like_another_one(capsys: pytest.CaptureFixture[str]) -> None:
    show_error("error: a\ntbps: 5 images added\n  b")
    assert capsys.readouterr().err == "tbps: error: a\n  tbps: 5 images added\n  b\n"


def test_logs_of_the_package_are_messages_like_others(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("tbps.data")
    with safe_streams():
        logger.warning("left out: %s", "\x1b[2J\ntbps: 5 images added")
    logger.warning("no longer shown")
    assert capsys.readouterr().err == "tbps: left out: \\x1b[2J\n  tbps: 5 images added\n"


def test_errors_of_strange_galleries_and_pages_are_harmless(tmp_path: Path) -> None:
    assert not steering(str(GalleryError(HOSTILE)) + "\n".join(str(GalleryError(HOSTILE)).split("\n")[1:]))
    hit = RankedImage(0.5, HOSTILE, None, HOSTILE, {HOSTILE: HOSTILE, "list": [HOSTILE]})
    write_search_page(tmp_path / "page.html", [QueryResult(HOSTILE, [hit], note=HOSTILE)], title=HOSTILE)
    assert not steering((tmp_path / "page.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("main", "option"), [(train_hf.main, "--config"), (demo.main, "--people")])
def test_programs_print_no_more_than_commands(
    main: Callable[[Sequence[str]], Any], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with safe_streams():
        assert run("program", main, [f"{HOSTILE}.yaml", option, HOSTILE]) == 2
    printed = "".join(capsys.readouterr())
    assert r"\x1b" in printed
    assert not steering(printed)


@pytest.fixture
def world(tmp_path: Path, tiny_model: TBPSModel, tiny_processor: TBPSProcessor) -> Path:
    """A folder of a hostile name with a checkpoint, crops, a bad image and a benchmark, whose own names are hostile."""
    world = tmp_path / HOSTILE
    tiny_model.save_pretrained(world / "model")
    tiny_processor.save_pretrained(world / "model")
    rows = make_rows(world / "crops", people=6)
    for path in list((world / "crops").iterdir()):
        path.rename(path.with_name(f"{path.stem}{HOSTILE}.png"))
    (world / "crops" / f"bad{HOSTILE}.png").write_text("no image")
    make_rows(world / "ToyPEDES" / "imgs", people=6)
    entries = [
        {"split": "test", "file_path": name, "captions": captions, "id": person}
        for name, captions, person in zip(rows["file_path"], rows["captions"], rows["person_id"], strict=True)
    ]
    lost = {"split": "test", "file_path": f"lost{HOSTILE}.png", "captions": ["a man"], "id": 10}
    (world / "ToyPEDES" / "reid_raw.json").write_text(json.dumps([*entries, lost]))
    facts = {"file": min((world / "crops").glob("00*")).name, "camera": HOSTILE, HOSTILE: HOSTILE, "source": HOSTILE}
    (world / "lines.jsonl").write_text(json.dumps(facts))
    (world / "corpus.json").write_text(json.dumps([{"image": f"{HOSTILE}.png", "caption": "a man", "image_id": 1}]))
    return world


def test_no_command_prints_what_steers_the_terminal(world: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Gallery, images, benchmark, corpus, checkpoint and arguments are all hostile: through every command."""
    model, crops, people = (str(world / name) for name in ("model", "crops", "people"))
    page, sheet = str(world / "hits.html"), str(world / "hits.png")
    commands = [
        [HOSTILE], ["search", model], ["data", "check", HOSTILE, str(world)],
        ["data", "check", "ToyPEDES", str(world)], ["data", "check", "ToyPEDES", str(world), "--skip-missing"],
        ["data", "toy", str(world / "toy"), "--people", "10", "--images-per-person", "1"],
        ["data", "shard", "mals", str(world / "corpus.json"), str(world / "shards")],
        ["data", "shard", "mals", str(world / "corpus.json"), str(world / "shards"), "--skip-bad"],
        ["data", "verify", str(world / "shards")],
        ["evaluate", model, "ToyPEDES", str(world), "--skip-missing"],
        ["index", model, crops, people],
        ["index", model, crops, people, "--skip-bad", "--metadata", str(world / "lines.jsonl"), "--sync"],
        ["gallery", "list", people], ["gallery", "list", people, "--json"],
        ["gallery", "list", people, "--values", "camera"], ["gallery", "list", people, "--values", HOSTILE],
        ["search", model, people, "a man", "--camera", "none"],
        ["search", model, people, f"a man {HOSTILE}", "--html", page, "--png", sheet],
        ["search", model, people, "a man", "--json", "--metadata", f"{HOSTILE}={HOSTILE}"],
        ["search", model, people, "--image", str(world / HOSTILE)],
        ["search", model, people, "a man", "--since", HOSTILE],
        ["gallery", "info", people], ["gallery", "info", people, "--json"], ["gallery", "check", people],
        ["gallery", "remove", people, HOSTILE], ["gallery", "export", people, str(world / "copy")],
        ["gallery", "compact", people], ["gallery", "info", str(world / "nowhere")], ["gallery", "build-index", people],
        ["gallery", "import", people, str(world / "copy")], ["gallery", "repair", people], ["push", model, HOSTILE],
        ["gallery", "calibrate", model, "ToyPEDES", str(world), str(world / "c.json"), "--skip-missing"],
    ]  # fmt: skip
    groups = {"data", "gallery"}
    ran = {" ".join(words[: 1 + (words[0] in groups)]) for words in commands}
    assert ran >= {name for name, _ in all_commands(build_parser())}
    printed = ""
    for command in commands:
        with suppress(SystemExit):  # a usage message
            main(command)
        out, err = capfd.readouterr()
        printed += out + err
        assert not steering(out + err), command
        assert not [line for line in (out + err).splitlines() if line.startswith("tbps: fine")], command
    assert printed.count(r"\x1b]0;t\x07\x1b[2J") > 20, "the names are shown, spelt out"
    with Image.open(sheet) as image:
        assert image.format == "PNG"
    assert not steering(Path(page).read_text(encoding="utf-8"))
    shutil.rmtree(world)
