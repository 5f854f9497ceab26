"""Text-based person search for Hugging Face Transformers: find the images of a person from a sentence."""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tbps.configuration_tbps import TBPSConfig
    from tbps.gallery import Gallery
    from tbps.modeling_tbps import TBPSModel
    from tbps.pipeline_tbps import TextBasedPersonSearchPipeline
    from tbps.processing_tbps import TBPSImageProcessor, TBPSProcessor
    from tbps.training.arguments import TBPSTrainingArguments
    from tbps.training.trainer import TBPSTrainer

__version__: str
__all__ = [
    "Gallery",
    "TBPSConfig",
    "TBPSImageProcessor",
    "TBPSModel",
    "TBPSProcessor",
    "TBPSTrainer",
    "TBPSTrainingArguments",
    "TextBasedPersonSearchPipeline",
]

# What not every user needs is imported when it is asked for: datasets and the trainer take seconds.
LAZY = {
    "Gallery": "tbps.gallery",
    "TBPSConfig": "tbps.configuration_tbps",
    "TBPSImageProcessor": "tbps.processing_tbps",
    "TBPSModel": "tbps.modeling_tbps",
    "TBPSProcessor": "tbps.processing_tbps",
    "TBPSTrainer": "tbps.training.trainer",
    "TBPSTrainingArguments": "tbps.training.arguments",
    "TextBasedPersonSearchPipeline": "tbps.pipeline_tbps",
}


def __getattr__(name: str) -> Any:
    if name in LAZY:
        return getattr(import_module(LAZY[name]), name)
    if name == "__version__":
        return import_module("tbps.checkpoint_tbps").VERSION
    raise AttributeError(f"module 'tbps' has no attribute {name!r}")


def _is_the_command() -> bool:
    """Whether this process is the `tbps` command itself: the program beside the interpreter, or `python -m tbps`."""
    program = sys.argv[0] if sys.argv else ""
    if program == "-m":  # so until the module that is to run is found, which takes its package first
        words = sys.orig_argv
        return "-m" in words and words[words.index("-m") + 1] in ("tbps", "tbps.cli")
    beside = os.path.realpath(os.path.dirname(sys.executable))
    return Path(program).stem == "tbps" and os.path.dirname(os.path.realpath(program)) == beside


# The command registers when it loads a checkpoint: `tbps --help` and most of the upkeep of a gallery need no model.
if not _is_the_command():
    import_module("tbps.auto").register()
