"""Files that other programs read: workflows, pre-commit hooks, the citation."""

import re
import tomllib
from typing import Any

import pytest
import yaml
from repository import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def pinned() -> dict[str, str]:
    """The versions of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_read_and_cancel_what_is_outdated(path: Any) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"]
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 90
        uses = [step["uses"] for step in job["steps"] if "uses" in step]
        assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", used) for used in uses)
        assert all(
            step["run"].split()[1] in make_targets() for step in job["steps"] if step.get("run", "").startswith("make ")
        )


def make_targets() -> set[str]:
    """The targets of the Makefile."""
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_lowest_versions_that_are_tested_are_the_lowest_allowed() -> None:
    bounds = dict(re.match(r"([\w-]+)>=([\d.]+)", requirement).groups() for requirement in PROJECT["dependencies"])  # type: ignore[union-attr]
    lowest, newest = yaml.safe_load((ROOT / ".github/workflows/check.yml").read_text())["jobs"]["test"]["strategy"][
        "matrix"
    ]["include"]
    for name in ("torch", "transformers"):
        package, _, version = lowest[name].partition("==")
        assert package == newest[name] == name
        assert version.split(".")[: len(bounds[name].split("."))] == bounds[name].split(".")
        assert version == pinned()[name]


def test_hooks_have_the_versions_of_the_constraints() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    tools = [tool for hook in repository["hooks"] for tool in hook.get("additional_dependencies", [])]
    checked = {name: version for name, _, version in (tool.partition("==") for tool in tools) if name in pinned()}
    assert set(checked) == {"ruff", "typos"}
    assert checked.items() <= pinned().items()


def test_the_citation_names_the_software_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["license"] == PROJECT["license"]
    assert "version" not in citation  # tbps/files_tbps.py has it
    (paper,) = citation["references"]
    assert paper["url"] == PROJECT["urls"]["Paper"]
    assert [author["family-names"] for author in paper["authors"]] == ["Park", "Jeong", "Kim", "Kwak"]
