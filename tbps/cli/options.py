"""What commands share: options for a benchmark, loading of checkpoints and benchmarks, checks of output files."""

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

    from tbps.gallery import Gallery
    from tbps.modeling_tbps import TBPSModel
    from tbps.processing_tbps import TBPSProcessor

# Commands import datasets, matplotlib and the like when they run: these take seconds.

TOKEN_VARIABLE = "TBPS_MILVUS_TOKEN"
WHERE = f"folder of the gallery, or an address of Milvus (token in ${TOKEN_VARIABLE})"


def token() -> str | None:
    """The token of a Milvus server, from the environment: other users of a machine can read command lines."""
    return os.environ.get(TOKEN_VARIABLE)


def open_gallery(options: argparse.Namespace) -> "Gallery":
    """Open the gallery that the command names, without a model."""
    from tbps.gallery import Gallery

    return Gallery.open(options.gallery, token=token())


def check_output(option: str, path: Path | None, gallery: str | None = None) -> None:
    """
    Refuse an output file that cannot be written, or that would lie in a gallery, before any work is done.

    Args:
        option: the name of the output in messages.
        path: the file, or None if the option was not given.
        gallery: the gallery that the command reads.

    Raises:
        ValueError: the file is a folder or a device, its folder does not exist, or it lies in a gallery.
    """
    from tbps.gallery import is_gallery

    if path is None:
        return
    if not path.parent.is_dir():
        raise ValueError(f"{option} {path}: there is no folder {path.parent}. Create it, or choose another place.")
    if path.exists() and not path.is_file():
        raise ValueError(
            f"{option} {path} is a {'folder' if path.is_dir() else 'device'}: expected the name of a file."
        )
    real = Path(os.path.realpath(path))  # a link may lead into a gallery
    within = gallery is not None and real.is_relative_to(os.path.realpath(gallery))
    if within or is_gallery(real.parent):
        raise ValueError(f"{option} {path} lies among the files of a gallery: choose a place outside it.")


def load(checkpoint: str) -> "tuple[TBPSModel, TBPSProcessor]":
    """
    Load the model of a checkpoint, in eval mode on the device of this process, and its processor.

    In a launch (torchrun, `accelerate launch`) this also connects the processes.
    """
    from accelerate import PartialState

    from tbps import register
    from tbps.modeling_tbps import TBPSModel
    from tbps.processing_tbps import TBPSProcessor

    register()
    checkpoint = checkpoint_name(checkpoint)
    device = PartialState().device
    return TBPSModel.from_pretrained(checkpoint).eval().to(device), TBPSProcessor.from_pretrained(checkpoint)


def say(line: str, file: TextIO | None = None) -> None:
    """Print a line of a result, in a launch only on the main process."""
    from tbps.evaluation.distributed import is_main_process

    if is_main_process():
        show(line, file)


def add_benchmark(command: argparse.ArgumentParser) -> None:
    """Add the arguments that name a benchmark on disk."""
    command.add_argument("benchmark", metavar="BENCHMARK", help=", ".join(BENCHMARKS))
    command.add_argument("root", metavar="ROOT", type=path, help="folder of the benchmark, or its parent")
    command.add_argument("--skip-missing", action="store_true", help="skip images that are not on disk")
    command.add_argument("--skip-empty-captions", action="store_true", help="skip blank captions")


def load_splits(options: argparse.Namespace) -> "DatasetDict":
    """Load the benchmark that the command names."""
    from tbps.data.loading import load_benchmark

    return load_benchmark(
        options.benchmark,
        options.root,
        skip_missing=options.skip_missing,
        skip_empty_captions=options.skip_empty_captions,
    )
