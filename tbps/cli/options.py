"""What several commands share: options, and the loading of a checkpoint or a benchmark.

Files that a command is asked to write: what cannot or must not be is refused before the work.
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tbps.cli.parser import path
from tbps.cli.terminal import show
from tbps.data.benchmarks import BENCHMARKS
from tbps.data.paths import checkpoint_name

if TYPE_CHECKING:
    from datasets import DatasetDict

    from tbps.modeling_tbps import TBPSModel
    from tbps.processing_tbps import TBPSProcessor


def check_output(option: str, path: Path | None, gallery: str | None = None) -> None:
    """
    Refuse a file that could not be written, or that would be among those of a gallery.

    Args:
        option: what messages call it. path: None is not asked for. gallery: the one that the command reads.

    Raises:
        ValueError: it is a folder or a device, its folder is not there, or that is a gallery's.
    """
    from tbps.gallery.folder.manifest import MANIFEST_NAME

    if path is None:
        return
    if not path.parent.is_dir():
        raise ValueError(f"{option} {path}: there is no folder {path.parent}. Make it, or choose another place.")
    if path.exists() and not path.is_file():
        raise ValueError(f"{option} {path} is a {'folder' if path.is_dir() else 'device'}: expected a file's name.")
    real = Path(os.path.realpath(path))  # a link may lead into a gallery
    within = gallery is not None and real.is_relative_to(os.path.realpath(gallery))
    if within or (real.parent / MANIFEST_NAME).exists():
        raise ValueError(f"{option} {path} lies among the files of a gallery: choose a place outside of it.")


# Each command imports what it needs when it runs: datasets, matplotlib and the rest take seconds.

TOKEN_VARIABLE = "TBPS_MILVUS_TOKEN"
WHERE = f"folder of the gallery, or an address of Milvus (token in ${TOKEN_VARIABLE})"


def token() -> str | None:
    """That of a Milvus server; never an option, since other users of a machine see those."""
    return os.environ.get(TOKEN_VARIABLE)


def load(checkpoint: str) -> "tuple[TBPSModel, TBPSProcessor]":
    """A tbps checkpoint's model, ready for use on this process's device, and its processor. In a launch (torchrun,
    `accelerate launch`) the processes find each other here."""
    from accelerate import PartialState

    from tbps import register
    from tbps.modeling_tbps import TBPSModel
    from tbps.processing_tbps import TBPSProcessor

    register()
    checkpoint = checkpoint_name(checkpoint)
    device = PartialState().device
    return TBPSModel.from_pretrained(checkpoint).eval().to(device), TBPSProcessor.from_pretrained(checkpoint)


def say(line: str, file: TextIO | None = None) -> None:
    """Print a line of a result, once in a launch."""
    from tbps.evaluation.distributed import is_first

    if is_first():
        show(line, file)


def add_benchmark(command: argparse.ArgumentParser) -> None:
    """The options by which a benchmark on disk is named."""
    command.add_argument("benchmark", metavar="BENCHMARK", help=", ".join(BENCHMARKS))
    command.add_argument(
        "root", metavar="ROOT", type=path, help="folder that holds the benchmark's folder, or that folder"
    )
    command.add_argument("--skip-missing", action="store_true", help="go on without images that are not on disk")
    command.add_argument("--skip-empty-captions", action="store_true", help="go on without captions that are blank")


def load_splits(options: argparse.Namespace) -> "DatasetDict":
    """The benchmark that the command names."""
    from tbps.data.loading import load_benchmark

    return load_benchmark(
        options.benchmark,
        options.root,
        skip_missing=options.skip_missing,
        skip_empty_captions=options.skip_empty_captions,
    )
