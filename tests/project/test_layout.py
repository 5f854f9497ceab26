"""The layout: imports point one way, no file is too long, and CONTRIBUTING's map names files that exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from repository import ROOT

PACKAGE = ROOT / "tbps"
FILES = sorted(PACKAGE.rglob("*.py"))
MODEL = "model"  # the files at the root that a checkpoint carries
ALLOWED = {  # a folder may import from these
    MODEL: set(),
    "data": {MODEL},
    "evaluation": {MODEL, "data"},
    "gallery": {MODEL, "data", "evaluation"},
    "report": {MODEL, "data"},
    "sharing": {MODEL, "data", "evaluation"},
    "training": {MODEL, "data", "evaluation", "sharing"},
    "cli": {MODEL, "data", "evaluation", "gallery", "report", "sharing"},
}


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(module of tbps, names) of each import in a file, wherever it stands."""
    found: list[tuple[str, list[str]]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, []) for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            found.append(
                (f"tbps.{node.module}" if node.level else node.module or "", [name.name for name in node.names])
            )
    yield from (one for one in found if one[0].split(".")[0] == "tbps")


def folder_of(module: str) -> str:
    """The folder of a module, such as "data" of tbps.data.images; `MODEL` of the files at the root."""
    name = module.split(".")[1]
    return MODEL if name.endswith("_tbps") else name


def test_imports_point_one_way() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in FILES
        if path.parent != PACKAGE or path.stem.endswith("_tbps")
        for module, _ in imports(path)
        if module != "tbps"
        and (here := MODEL if path.parent == PACKAGE else path.relative_to(PACKAGE).parts[0]) != folder_of(module)
        and folder_of(module) not in ALLOWED[here]
    ]
    assert not wrong
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()} == {
        *ALLOWED
    } - {MODEL}


def test_nobody_imports_a_private_name() -> None:
    private = re.compile(r"_[^_]")
    wrong = [
        f"{path.relative_to(ROOT)}: {name} of {module}"
        for path in FILES
        for module, names in imports(path)
        for name in (*names, *module.split("."))
        if private.match(name)
    ]
    assert not wrong


def test_the_model_is_at_most_fourteen_files() -> None:
    assert len(list(PACKAGE.glob("*_tbps.py"))) <= 14
    assert {path.name for path in PACKAGE.glob("*.py") if not path.stem.endswith("_tbps")} == {
        "__init__.py",
        "__main__.py",
    }


def test_files_have_20_to_350_lines() -> None:
    files = [path for path in (*FILES, *(ROOT / "benchmarks").rglob("*.py")) if not path.name.startswith("__")]
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert not {name: count for name, count in lines.items() if not 20 <= count <= 350}


def test_contributing_names_what_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(
        re.findall(r"`((?:tbps|tests|benchmarks|docs|recipes|metrics|conformance|examples|\.ci|\.github)/[^`]*)`", text)
    )
    assert len(named) > 50
    assert not [path for path in sorted(named) if not list(ROOT.glob(path))]
