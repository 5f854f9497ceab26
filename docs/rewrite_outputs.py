"""Update what the pages show of the demonstration: outputs of commands, README's figures, and docs/answers.png.

    make pages      # after `make demo`; trains for a few minutes, for the pages on fine-tuning

A ```text block after a line `<!-- output -->` shows the output of the last command in the ```bash block before it.
The commands run in a folder with only the demonstration (`runs/demo`), so they do not depend on your own `runs/`.
Paths below that folder are shown relative to it.
"""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
LINKED = (".venv", "examples", "recipes", "train_hf.py")
FIGURES = ("rank_1", "rank_5", "rank_10", "mAP", "mINP")
ANSWERS_SIZE = (800, 1600)  # pixels at most
OUTPUT = re.compile(
    r"^```bash\n(?P<commands>(?:(?!```).*\n)*)```\n(?P<between>(?:(?!```).*\n)*?<!-- output -->\n)```text\n"
    r"(?P<output>(?:(?!```).*\n)*)```$",
    re.MULTILINE,
)
FIGURE_ROW = re.compile(r"^(\| `make demo` \([^|]*\) \|)(?: [\d.]+ \|)+$", re.MULTILINE)


def with_outputs(page: str, run: Callable[[str], str]) -> str:
    """Replace each output on a page by what `run` returns for the commands before it."""

    def renewed(found: re.Match[str]) -> str:
        printed = [run(command) for command in commands(found["commands"])]
        return f"```bash\n{found['commands']}```\n{found['between']}```text\n{printed[-1].strip()}\n```"

    return OUTPUT.sub(renewed, page)


def commands(block: str) -> list[str]:
    """The command lines of a block, without comments."""
    lines = [re.sub(r"\s+# .*", "", line).strip() for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def with_figures(readme: str, results: dict[str, float]) -> str:
    """Put the demonstration's retrieval figures into README."""
    figures = "".join(f" {100 * results[f'test_{name}']:.1f} |" for name in FIGURES)
    return FIGURE_ROW.sub(lambda found: found[1] + figures, readme)


def run_in(folder: Path) -> Callable[[str], str]:
    """A function that runs a command line in a folder and returns its output, with paths relative to the folder."""

    def run(command: str) -> str:
        done = subprocess.run(command, shell=True, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.replace(f"{folder}/", "")

    return run


def main() -> None:
    """Update README and all pages."""
    demo = ROOT / "runs" / "demo"
    if not (demo / "answers.png").is_file():
        raise SystemExit(f"{demo} must hold the demonstration, and answers.png is missing. Run `make demo` first.")
    with Image.open(demo / "answers.png") as sheet:  # no palette: it turns yellow into orange
        sheet.thumbnail(ANSWERS_SIZE)
        sheet.save(ROOT / "docs" / "answers.png", optimize=True)
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        page = path.read_text(encoding="utf-8")
        with TemporaryDirectory() as scratch:
            folder = Path(scratch).resolve()
            (folder / "runs").mkdir()
            (folder / "runs" / "demo").symlink_to(demo)
            for name in LINKED:
                (folder / name).symlink_to(ROOT / name)
            renewed = with_outputs(page, run_in(folder))
        if path.name == "README.md":
            renewed = with_figures(renewed, json.loads((demo / "model" / "results.json").read_text(encoding="utf-8")))
        path.write_text(renewed, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {len(OUTPUT.findall(page))} outputs")


if __name__ == "__main__":
    main()
