"""Paths, addresses and file names: an unknown scheme never becomes a folder, and names are UTF-8 in every locale."""

import json
import os
import re
import string
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from handmade_gallery import IDENTITY, layout
from hypothesis import given
from hypothesis import strategies as st
from repository import ROOT
from tiny import make_rows

from tbps import TBPSModel, TBPSProcessor
from tbps.cli.main import main
from tbps.data.benchmarks import find_annotation, find_benchmark
from tbps.data.paths import checkpoint_name, local_path, name_as_text, name_on_disk, scheme_of
from tbps.data.toypedes import generate
from tbps.gallery import Gallery
from tbps.gallery.checks import GalleryError
from tbps.gallery.open_store import open_existing, open_store, place_of
from tbps.report import QueryResult, write_search_page, write_search_sheet
from tbps.training.recipe import parse_recipe

QUICKSTART = ROOT / "recipes" / "quickstart.yaml"
KNOWN = {"file", "http", "https", "tcp"}
SCHEMES = st.text(string.ascii_letters + string.digits + "+.-", min_size=2, max_size=12).filter(
    lambda name: name[0] in string.ascii_letters and name.lower() not in KNOWN
)
REST = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(SCHEMES, st.sampled_from(["://", ":/"]), REST, st.sampled_from(["", " ", "\n"]))
def test_an_unknown_scheme_is_refused_with_those_that_exist(scheme: str, mark: str, rest: str, space: str) -> None:
    where = f"{space}{scheme}{mark}{rest}"
    with pytest.raises(GalleryError, match=re.escape("file:///FOLDER")) as caught:
        place_of(where)
    assert "https://" in str(caught.value)
    with pytest.raises(ValueError, match=re.escape("file:///PATH")):
        local_path(where)


@given(st.text(min_size=1), st.text())
def test_an_address_with_a_scheme_is_not_a_folder(before: str, after: str) -> None:
    where = f"{before}://{after}"
    try:
        place = place_of(where)
    except GalleryError:
        return
    assert isinstance(place, str) or before.strip().lower() == "file"


@given(st.sampled_from(sorted(KNOWN - {"file"})), st.lists(st.booleans(), min_size=5, max_size=5))
def test_a_scheme_is_compared_without_case(scheme: str, upper: list[bool]) -> None:
    mixed = "".join(letter.upper() if up else letter for letter, up in zip(scheme, upper, strict=False))
    assert place_of(f"{mixed}://Host:1/People") == f"{scheme}://Host:1/People"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_a_file_address_is_the_path_it_was_made_of(name: str) -> None:
    path = Path(os.path.abspath("/srv")) / name.replace("/", "_")
    for address in (
        path.as_uri(),
        path.as_uri().replace("file://", "FILE://LocalHost"),
        path.as_uri().replace("//", "", 1),
    ):
        assert local_path(address) == path
        assert place_of(address) == (str(path) if path.name.endswith(".db") else path)


@pytest.mark.parametrize(
    "where",
    ["", " ", "file://", "file:people", "file://people", "file://server/people", "file:///people?x", "file:///people#x",
     "file:///pe%00ople", "http:host:1/people", "https:/host/people", "tcp:host", "://x", Path("https://host/people"),
     Path("s3://bucket/people")],
)  # fmt: skip
def test_almost_valid_addresses_are_refused(where: str | Path) -> None:
    with pytest.raises(GalleryError, match="expected") as caught:
        place_of(where)
    if not str(where).strip():
        assert "https://" in str(caught.value)


@pytest.mark.parametrize(
    "where", ["people", "./s3:/people", "C:\\people", "C:/people", "c:", "2026-05-01T10:30", "cam1:front", "a b", "ü"]
)
def test_a_path_stays_a_path(where: str) -> None:
    assert scheme_of(where) is None
    assert place_of(where) == Path(where)


def test_the_users_folder_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert place_of("~/people") == tmp_path / "people"


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(GalleryError) as caught:
        place_of("postgres://root:hunter2@host/people")
    assert "hunter2" not in str(caught.value)
    assert "postgres" in str(caught.value)


def test_other_types_are_named() -> None:
    with pytest.raises(TypeError, match="bytes"):
        place_of(b"people")  # type: ignore[arg-type]


def status(command: list[str]) -> int | str | None:
    """Of the command, refused for its usage or at work."""
    try:
        return main(command)
    except SystemExit as stopped:
        return stopped.code


@pytest.mark.parametrize("where", ["s3://bucket/people", "S3:/bucket", "", "hdfs://x"])
def test_refused_addresses_create_no_folder(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever Python or the command line takes a place to write to or to read from."""
    monkeypatch.chdir(tmp_path)
    for take in (
        lambda: open_store(where, IDENTITY, layout()),
        lambda: open_existing(where),
        lambda: generate(where, people=10),
        lambda: find_annotation(find_benchmark("ToyPEDES"), where),
        lambda: checkpoint_name(where),
        lambda: write_search_page(f"{where}/page.html" if where else where, []),
        lambda: write_search_sheet(f"{where}/sheet.png" if where else where, [QueryResult("a man", [])]),
        *(partial(parse_recipe, [str(QUICKSTART), f"--{name}", where]) for name in ("root", "output_dir", "corpus")),
    ):
        with pytest.raises(ValueError, match="file:///"):
            take()
    for command in (
        ["data", "toy", where], ["data", "check", "ToyPEDES", where], ["data", "shard", "mals", "x.json", where],
        ["data", "verify", where], ["evaluate", where, "ToyPEDES", "."], ["index", "m", "crops", where],
        ["index", "m", where, "people"], ["search", "m", where, "a man"], ["search", "m", "p", "a", "--html", where],
        ["gallery", "info", where], ["gallery", "check", where], ["gallery", "export", where, "copy"],
    ):  # fmt: skip
        assert status(command) == 2, command
    assert not list(tmp_path.iterdir())


def test_a_file_address_works_everywhere(tmp_path: Path) -> None:
    folder = tmp_path / "some people"
    store = open_store(folder.as_uri(), IDENTITY, layout())
    assert store.where == str(folder)
    assert checkpoint_name(folder.as_uri()) == str(folder)
    assert checkpoint_name("me/model") == "me/model"


@pytest.mark.parametrize("given", ["", "  ", Path("s3://bucket/crops"), "S3://bucket/crops", "postgres://host/x"])
def test_no_folder_of_images_is_guessed(given, tmp_path, tiny_model, tiny_processor, monkeypatch):
    make_rows(tmp_path / "here", people=1)
    monkeypatch.chdir(tmp_path / "here")  # which an empty path would be
    gallery = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor)
    for use in (gallery.add, gallery.sync, lambda path: Gallery.open("g", tiny_model, tiny_processor, roots=[path])):
        with pytest.raises(ValueError, match=r"is blank|not supported here"):
            use(given)
    with pytest.raises(TypeError, match="expected a list of folders"):
        Gallery.open("g", tiny_model, tiny_processor, roots="/")
    assert gallery.count() == 0


def test_a_folder_of_images_may_be_a_file_address(tmp_path, tiny_model, tiny_processor):
    make_rows(tmp_path / "two words", people=1)
    address = (tmp_path / "two words").as_uri()
    gallery = Gallery.open(tmp_path / "gallery", tiny_model, tiny_processor, roots=[address])
    added = gallery.add(address, progress=False).added
    assert added
    assert gallery.get(added)[0].file_state == "unchanged"
    assert gallery.sync(address, progress=False).unchanged == len(added)
    next((tmp_path / "two words").rglob("*.png")).unlink()
    assert gallery.sync(address, drop=True, progress=False).dropped == 1


PROGRAM = """
import sys
from tbps.cli.main import main
assert sys.getfilesystemencoding() == "ascii"
model, crops, people, lines, sentence, camera, page, name = sys.argv[1:]
statuses = [main(["index", model, crops, people, "--metadata", lines]),
            main(["search", model, people, sentence, "--path", crops + "/" + name]), main(["gallery", "list", people]),
            main(["index", model, crops, people, "--sync", "--drop", "--json"]),
            main(["data", "check", "ToyPEDES", crops]), main(["evaluate", model, "ToyPEDES", crops]),
            main(["search", model, people, sentence, "--camera", camera, "--json", "--roots", crops, "--html", page])]
sys.exit(max(statuses))
"""


@given(st.binary().filter(lambda name: b"\0" not in name))
def test_a_name_becomes_text_and_the_same_name_again(name: bytes) -> None:
    text = name_as_text(os.fsdecode(name))
    assert os.fsencode(name_on_disk(text)) == name
    assert text.encode("utf-8", "surrogateescape") == name


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_locale_without_utf_8_changes_nothing(
    tmp_path: Path, tiny_model: TBPSModel, tiny_processor: TBPSProcessor
) -> None:
    """Names of files, metadata, sentences, filters and pages."""
    tiny_model.save_pretrained(tmp_path / "model")
    tiny_processor.save_pretrained(tmp_path / "model")
    crops = tmp_path / "Fußgänger"
    make_rows(crops, people=2)
    named = crops / "ü名.png"
    (crops / "000_0.png").rename(named)
    entry = {"split": "test", "file_path": named.name, "captions": ["a man"], "id": 1}
    (crops / "reid_raw.json").write_text(json.dumps([entry]))
    (crops / "imgs").symlink_to(crops)
    line = json.dumps({"file": named.name, "camera": "Tür"}, ensure_ascii=False)
    (tmp_path / "lines.jsonl").write_text(line, encoding="utf-8")
    words = ["model", str(crops), "Leute", "lines.jsonl", "a person – in a red coat", "Tür", "Seite.html", named.name]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    [hit] = json.loads(run.stdout.splitlines()[-1])
    assert (hit["path"], hit["metadata"]) == (str(named), {"camera": "Tür"})
    assert rb"in Leute" in run.stdout
    shown = str(named).encode("ascii", "backslashreplace")
    assert run.stdout.count(shown) == 2, "a table and a list spell out what the terminal has no letters for"
    (synced,) = (json.loads(line)["sync"] for line in run.stdout.splitlines() if b'"sync"' in line)
    assert (synced["unchanged"], synced["dropped"]) == (len(list(crops.glob("*.png"))), 0)
    page = (tmp_path / "Seite.html").read_text(encoding="utf-8")
    assert "data:image/jpeg" in page, "the file is found by its name"
    assert "a person – in a red coat" in page
