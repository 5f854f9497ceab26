"""Fetch the common tests of Transformers: unpack its source distribution, at the installed version, outside the
repository. None of it is committed.

The distribution lacks three modules that the common tests import. This module writes minimal ones: two mixins of tests
that are not distributed (export, generation), and settings for the configuration tests that skip composite
configurations.
"""

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import transformers

PACKAGE = "transformers_tests"  # "tests" would be found in many a working directory
MISSING = {
    "transformers_tests/__init__.py": "",
    "transformers_tests/exporters/__init__.py": "",
    "transformers_tests/exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "transformers_tests/generation/__init__.py": "",
    "transformers_tests/generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "transformers_tests/utils/__init__.py": "",
    "transformers_tests/utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
    "utils/fetch_hub_objects_for_ci.py": "def url_to_local_path(url):\n    return url\n",
}
COMPLETE = ".complete"


def fetch(folder: Path) -> Path:
    """Return the folder to put on `sys.path` for importing `transformers_tests.test_modeling_common`.

    Download it with pip if it is missing.

    Raises:
        RuntimeError: pip could not get the source distribution; the message includes that of pip.
    """
    version = transformers.__version__
    root = folder / f"transformers-{version}"
    if (root / COMPLETE).is_file():
        return root
    with tempfile.TemporaryDirectory() as downloads:
        archive = download(version, Path(downloads))
        unpack_tests(archive, root)
    for name, text in MISSING.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / COMPLETE).touch()
    return root


def download(version: str, folder: Path) -> Path:
    """Download the source distribution of that version."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", "transformers", "--dest", str(folder)]
    done = subprocess.run([*command, f"transformers=={version}"], capture_output=True, text=True)
    found = sorted(folder.glob("*.tar.gz"))
    if done.returncode or not found:
        raise RuntimeError(
            f"pip could not download the source distribution of transformers {version}, which holds the common tests. "
            f"It said: {done.stderr.strip() or done.stdout.strip()}"
        )
    return found[0]


def unpack_tests(archive: Path, root: Path) -> None:
    """Put the files of `tests/` of the archive into `root / PACKAGE`."""
    target = root / PACKAGE
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            parts = Path(member.name).parts
            if member.isfile() and len(parts) == 3 and parts[1] == "tests" and member.name.endswith(".py"):
                content = tar.extractfile(member)
                if content is not None:
                    (target / parts[2]).write_bytes(content.read())
