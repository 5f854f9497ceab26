"""Hooks of the MkDocs build (`make docs`).

- README.md is the start page.
- A link to a file outside docs/ works on the site as it does in the repository: the file is copied below `source/`, and
  a Markdown file becomes a page there.
- `<!-- help: gallery list -->` on a page becomes the output of `tbps gallery list --help`.
- `<!-- fields: FILE CLASS -->` becomes the fields of a class with their defaults.
- Names that docstrings put in brackets, as Transformers does, lose the brackets.
"""

import ast
import os
import re
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)(?P<path>[^)#\s]+)")
BRACKETED = re.compile(r"\[(<code>[^<]*</code>)\]")
SECTION = re.compile(r"\n(?=(?:Args|Returns|Raises):\n)")
FIELDS = re.compile(r"^<!-- fields: (?P<file>\S+) (?P<name>\w+) -->$", re.MULTILINE)
HELP = re.compile(r"^<!-- help: (?P<command>[\w -]+) -->$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README and every file that a page links to outside docs/."""
    pages = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
    seen = set(pages)
    while pages:
        page = pages.pop()
        for found in LINK.finditer(page.read_text(encoding="utf-8")):
            target = (page.parent / found["path"]).resolve()
            if target.is_file() and target not in seen:
                seen.add(target)
                if target.suffix == ".md":
                    pages.append(target)
    for path in sorted(seen):
        if not path.is_relative_to(DOCS):
            files.append(File.generated(config, site_path(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at where the files are on the site, and fill in the help of commands."""
    uri = page.file.src_uri
    folder = source_of(uri).parent

    def moved(found: re.Match[str]) -> str:
        target = site_path((folder / found["path"]).resolve())
        return os.path.relpath(target, os.path.dirname(uri))

    markdown = FIELDS.sub(lambda found: f"```python\n{fields_of(found['file'], found['name'])}\n```", markdown)
    return HELP.sub(lambda found: f"```text\n{help_of(found['command'])}\n```", LINK.sub(moved, markdown))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show [`TBPSModel`] of a docstring as code without brackets."""
    return BRACKETED.sub(r"\1", html) if page.file.src_uri.startswith("reference/") else html


def site_path(path: Path) -> str:
    """The path on the site of a file of the repository."""
    if path == ROOT / "README.md":
        return "index.md"
    return path.relative_to(DOCS).as_posix() if path.is_relative_to(DOCS) else f"source/{path.relative_to(ROOT)}"


def source_of(uri: str) -> Path:
    """The file of the repository at a path of the site."""
    if uri == "index.md":
        return ROOT / "README.md"
    return ROOT / uri.removeprefix("source/") if uri.startswith("source/") else DOCS / uri


@cache
def help_of(command: str) -> str:
    """The help text of a `tbps` command."""
    plain = {**os.environ, "COLUMNS": "92", "NO_COLOR": "1", "TERM": "dumb"}
    words = [sys.executable, "-m", "tbps", *command.split(), "--help"]
    return subprocess.run(words, cwd=ROOT, env=plain, capture_output=True, text=True, check=True).stdout.strip()


def fields_of(file: str, name: str) -> str:
    """The lines of a class from its first annotated field to its last."""
    source = (ROOT / file).read_text(encoding="utf-8")
    [found] = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name]
    fields = [node for node in found.body if isinstance(node, ast.AnnAssign)]
    return textwrap.dedent("\n".join(source.splitlines()[fields[0].lineno - 1 : fields[-1].end_lineno]))


class SectionBreaks(griffe.Extension):
    """Put the blank line before `Args:`, `Returns:` and `Raises:` that the parser of docstrings needs."""

    def on_object(self, *, obj: griffe.Object, **kwargs: object) -> None:
        if obj.docstring:
            obj.docstring.value = SECTION.sub("\n\n", obj.docstring.value)
