"""The commands on the pages: as a clone types them, with options that exist, working after `make demo`, and their
outputs as they stand."""

import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import pytest
from repository import ROOT, load_script
from tiny import make_rows

from tbps import TBPSModel, TBPSProcessor
from tbps.cli.main import main, parse
from tbps.gallery.folder.store import FolderStore

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
}
PROGRAM = re.compile(r"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/\w+|make) ")
writer = load_script(ROOT / "docs" / "rewrite_outputs.py")


def command_lines(page: str) -> Iterator[str]:
    for block in re.findall(r"^```bash\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE):
        yield from (line for line in writer.commands(block) if not line.startswith("--"))


ALL = [(name, line) for name, page in PAGES.items() for line in command_lines(page)]
OURS = [line for _, line in ALL if line.startswith(".venv/bin/tbps ")]


def test_commands_are_as_a_clone_types_them() -> None:
    assert len(ALL) > 30
    assert not [(name, line) for name, line in ALL if not PROGRAM.match(f"{line} ")]
    inline = [
        (name, found) for name, page in PAGES.items() for found in re.findall(r"`(?:python|torchrun) [^`]+`", page)
    ]
    assert not inline


@pytest.mark.parametrize("line", sorted(set(OURS)))
def test_every_option_exists(line: str) -> None:
    parse(shlex.split(line)[1:])  # ends with a usage message where it is wrong


def test_a_folder_of_runs_is_one_thing_on_all_pages() -> None:
    galleries, data = set(), set()
    for line in OURS:
        options = vars(parse(shlex.split(line)[1:]))
        galleries.add(options.get("gallery"))
        data.update(str(options[name]) for name in ("root", "out") if name in options)
    for page in PAGES.values():
        galleries.update(re.findall(r'Gallery\.open\(\s*"([^"]+)"', page))
        data.update(re.findall(r'load_benchmark\("\w+", "([^"]+)"', page))
        data.update(re.findall(r"examples/finetune_\w+\.py \S+ (\S+)", page))
    assert {"runs/people"} <= galleries
    assert {"runs/more-people", "runs/demo/data"} <= data
    assert not galleries & data


@pytest.fixture
def clone(
    tmp_path: Path, tiny_model: TBPSModel, tiny_processor: TBPSProcessor, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder in the state that `make demo` leaves, of a tiny checkpoint and few people."""
    tiny_model.save_pretrained(tmp_path / "runs/demo/model")
    tiny_processor.save_pretrained(tmp_path / "runs/demo/model")
    make_rows(tmp_path / "runs/demo/data/ToyPEDES/imgs/cam_a", people=6)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(clone: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Runs a command line in this process; gives what it prints."""

    def typed(line: str) -> str:
        program, *words = shlex.split(line)
        capsys.readouterr()
        if program == ".venv/bin/tbps":
            assert main(words) == 0, (line, capsys.readouterr())
        else:
            assert program == ".venv/bin/python"
            monkeypatch.setattr(sys, "argv", words)
            runpy.run_path(str(ROOT / words[0]), run_name="__main__")
        return capsys.readouterr().out.replace(f"{clone}/", "")

    return typed


def test_the_commands_of_readme_and_of_upkeep_work_after_the_demonstration(run: Callable[[str], str]) -> None:
    readme = [line for line in command_lines(PAGES["README.md"]) if "runs/my-gallery" in line]
    assert len(readme) == 2
    for line in readme:
        run(line)
    assert Path("hits.html").stat().st_size > 1000
    people = [line for line in command_lines(PAGES["docs/maintenance.md"]) if "runs/people" in line]
    assert len(people) >= 9
    run(".venv/bin/tbps index runs/demo/model runs/demo/data/ToyPEDES/imgs/cam_a runs/people")
    for line in people:
        if line.endswith(" ID"):
            line = f"{line[:-3]} {next(FolderStore.read(Path('runs/people')).scan())[0][0].id}"
        run(line)
    assert FolderStore.read(Path("runs/copy")).count() == 11


def shape(output: str) -> str:
    """An output with its numbers masked; the number of hits stays."""
    return re.sub(r"[\d.]+", "0", output).strip()


@pytest.mark.parametrize("name", ["docs/examples/search_folder.md", "docs/gallery.md"])
def test_outputs_are_of_the_shape_that_the_commands_print(name: str, run: Callable[[str], str]) -> None:
    page = PAGES[name]
    renewed = writer.with_outputs(page, run)
    assert writer.OUTPUT.search(page)
    assert renewed != page, "another model finds others"
    assert writer.with_outputs(renewed, lambda command: "same") == writer.with_outputs(page, lambda command: "same")
    for shown, printed in zip(writer.OUTPUT.finditer(page), writer.OUTPUT.finditer(renewed), strict=True):
        assert shape(shown["output"]) == shape(printed["output"])


def test_figures_of_readme_are_those_of_results() -> None:
    results = {f"test_{name}": place / 10 for place, name in enumerate(writer.FIGURES)}
    changed = writer.with_figures(PAGES["README.md"], results)
    [row] = [line for line in changed.splitlines() if line.startswith("| `make demo`")]
    assert row.endswith("| 0.0 | 10.0 | 20.0 | 30.0 | 40.0 |")
    assert changed.count("\n") == PAGES["README.md"].count("\n")


def test_an_output_is_of_the_last_command_of_its_block() -> None:
    page = "```bash\nb 1  # one\nb 2\n```\n<!-- output -->\n```text\nold\n```\nd\n```bash\nb 3\n```\n```text\nx\n```\n"
    ran = []

    def record(command: str) -> str:
        ran.append(command)
        return f"of {command}\n"

    assert writer.with_outputs(page, record) == page.replace("old", "of b 2")
    assert ran == ["b 1", "b 2"]
