"""The site: every page is reachable, links lead where they do in the repository, and every command is documented.

`make check` builds it strictly, which checks links, anchors and the reference.
"""

import inspect
import pydoc
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from repository import ROOT, load_script

from tbps import Gallery, TBPSConfig

pytest.importorskip("mkdocs", reason="mkdocs comes with the extra 'docs'")

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
FILE = re.compile(r"(?<![\w/.])(?:tests|benchmarks|examples|conformance|recipes|metrics)/[\w./-]*\w")
NAME = re.compile(r"\btbps(?:\.[A-Za-z_]+)+\b(?!/)")
COMMAND = re.compile(r"^[ │]+([a-z][a-z-]+)(?: {2,}|$)", re.MULTILINE)
hooks = load_script(DOCS / "site_hooks.py")


def pages_of(nav: list[dict[str, Any]]) -> Iterator[str]:
    for entry in nav:
        for inside in entry.values():
            if isinstance(inside, str):
                yield inside
            else:
                yield from pages_of(inside)


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = list(pages_of(yaml.safe_load(text)["nav"]))
    assert sorted(pages) == sorted(["index.md", *(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    for found in hooks.LINK.finditer(page.read_text(encoding="utf-8")):
        assert (page.parent / found["path"]).is_file(), found["path"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_names_on_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in FILE.findall(text):
        assert (ROOT / path).exists(), path
    for name in NAME.findall(text):
        assert pydoc.locate(name), name


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("index.md", "docs/gallery.md", "gallery.md"),
        ("index.md", "CONTRIBUTING.md", "source/CONTRIBUTING.md"),
        ("gallery.md", "scale.md#room", "scale.md#room"),
        ("gallery.md", "../README.md", "index.md"),
        ("examples/search_folder.md", "../../examples/search_folder.py", "../source/examples/search_folder.py"),
        ("source/benchmarks/report.md", "report.png", "report.png"),
        ("source/metrics/README.md", "../docs/data.md", "../../data.md"),
        ("gallery.md", "https://arxiv.org/abs/2501.00318", "https://arxiv.org/abs/2501.00318"),
        ("gallery.md", "#search", "#search"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(page: str, link: str, expected: str) -> None:
    on_site = hooks.on_page_markdown(f"[text]({link})", SimpleNamespace(file=SimpleNamespace(src_uri=page)), None, None)
    assert on_site == f"[text]({expected})"


def test_the_reference_has_every_command() -> None:
    def commands(group: str) -> Iterator[str]:
        help_text = hooks.help_of(group)
        if "COMMAND" in help_text.partition("\n\n")[0]:
            for name in COMMAND.findall(help_text):
                yield from commands(f"{group} {name}".strip())
        else:
            yield group

    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    shown = [found["command"] for found in hooks.HELP.finditer(page)]
    assert sorted(shown) == sorted(commands(""))
    assert len(shown) > 15


def test_the_reference_has_every_field_of_the_configuration() -> None:
    fields = hooks.fields_of("tbps/configuration_tbps.py", "TBPSConfig")
    assert set(re.findall(r"^(\w+):", fields, re.MULTILINE)) == {*inspect.get_annotations(TBPSConfig)}


def test_the_reference_has_every_method_of_a_gallery() -> None:
    page = (DOCS / "reference" / "gallery.md").read_text(encoding="utf-8")
    listed = re.search(r"members: \[(.*)\]", page)
    assert listed is not None
    assert sorted(listed[1].split(", ")) == [name for name in dir(Gallery) if not name.startswith("_")]
