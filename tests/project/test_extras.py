"""Small installations: what the core imports, and what a command says when an extra is missing."""

import ast
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from repository import ROOT

from tbps.cli.main import main
from tbps.gallery.folder.faiss_index import import_faiss

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {"faiss", "evaluate", "ijson", "matplotlib", "milvus_lite", "peft", "pymilvus", "scipy", "sklearn"}
DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml", "faiss": "faiss-cpu", "milvus_lite": "milvus-lite"}
UNDECLARED = {"grpc", "markupsafe", "torchvision"}  # of pymilvus, of jinja2; torchvision is used where it is there


def distributions(requirements: list[str]) -> set[str]:
    """The names of requirements, without versions and extras."""
    return {re.split(r"[\[<>=~! ]", requirement)[0].lower() for requirement in requirements}


def imported() -> set[str]:
    """The distributions that some module of the package imports."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "tbps").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    packages = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - UNDECLARED - {"tbps"}
    return {DISTRIBUTIONS.get(package, package).lower() for package in packages}


def test_every_import_is_declared() -> None:
    for_users = [PROJECT["optional-dependencies"][extra] for extra in ("corpora", "faiss", "milvus", "report")]
    declared = distributions([*PROJECT["dependencies"], *chain.from_iterable(for_users)])
    assert imported() <= declared
    assert distributions(PROJECT["dependencies"]) <= imported()


def test_the_core_imports_without_any_extra() -> None:
    """Every module of the package but those of tbps.report, in a process that has no package of an extra."""
    program = f"""
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({sorted(EXTRAS)}))
import tbps
for found in pkgutil.walk_packages(tbps.__path__, "tbps.", onerror=lambda name: None):
    try:
        if found.name != "tbps.__main__":
            importlib.import_module(found.name)
    except ImportError as error:
        print(found.name, error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout == "tbps.report Result pages and images need matplotlib: pip install 'tbps[report]'.\n"


@pytest.fixture(params=["matplotlib"])
def without_report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One package of the extra `report` is missing."""
    for name in [name for name in sys.modules if name.split(".")[:2] == ["tbps", "report"]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, request.param, None)
    return str(request.param)


@pytest.mark.parametrize("option", ["--html", "--png"])
def test_a_search_names_the_extra_before_it_loads_a_model(
    option: str, without_report: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "no/model", "no/gallery", "a woman", option, str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert f"Result pages and images need {without_report}: pip install 'tbps[report]'." in said
    assert len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_corpus_in_json_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ijson", None)
    (tmp_path / "corpus.json").write_text("[]")
    assert main(["data", "shard", "webperson", str(tmp_path / "corpus.json"), str(tmp_path / "shards")]) == 2
    said = "tbps: error: Reading annotations in JSON needs ijson: pip install 'tbps[corpora]'."
    assert capsys.readouterr().err.splitlines() == [said]
    assert not (tmp_path / "shards").exists()


def test_an_index_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"needs FAISS: pip install 'tbps\[faiss\]'"):
        import_faiss()
