"""Text-based person search for Hugging Face Transformers: find the images of a person from a description."""

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

# Names that are imported on first use: datasets and the trainer take seconds to import.
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
        return import_module("tbps.files_tbps").VERSION
    raise AttributeError(f"module 'tbps' has no attribute {name!r}")


def _is_the_command() -> bool:
    """Tell whether this process is the `tbps` command: the program beside the interpreter, or `python -m tbps`."""
    program = sys.argv[0] if sys.argv else ""
    if program == "-m":  # until Python has found the module to run, which imports the package first
        words = sys.orig_argv
        return "-m" in words and words[words.index("-m") + 1] in ("tbps", "tbps.cli.main")
    beside = os.path.realpath(os.path.dirname(sys.executable))
    return Path(program).stem == "tbps" and os.path.dirname(os.path.realpath(program)) == beside


def register() -> None:
    """Register the classes with Transformers, so that Auto classes and pipelines load them without remote code.

    Afterwards `save_pretrained` copies the model's code beside the weights, for `trust_remote_code=True` where tbps is
    not installed.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor
    from transformers.pipelines import PIPELINE_REGISTRY

    from tbps.configuration_tbps import TASK, TBPSConfig
    from tbps.modeling_tbps import TBPSModel
    from tbps.pipeline_tbps import TextBasedPersonSearchPipeline
    from tbps.processing_tbps import TBPSImageProcessor, TBPSProcessor

    AutoConfig.register(TBPSConfig.model_type, TBPSConfig, exist_ok=True)
    AutoModel.register(TBPSConfig, TBPSModel, exist_ok=True)
    AutoImageProcessor.register(TBPSConfig, slow_image_processor_class=TBPSImageProcessor, exist_ok=True)
    AutoProcessor.register(TBPSConfig, TBPSProcessor, exist_ok=True)
    TBPSConfig.register_for_auto_class("AutoConfig")
    TBPSModel.register_for_auto_class("AutoModel")
    TBPSImageProcessor.register_for_auto_class("AutoImageProcessor")
    TBPSProcessor.register_for_auto_class("AutoProcessor")
    # Transformers asks for trust if a checkpoint names a pipeline, although the registered one runs no code from it
    TBPSConfig.reads_custom_pipelines = False
    if TASK not in PIPELINE_REGISTRY.get_supported_tasks():  # registering again would warn
        PIPELINE_REGISTRY.register_pipeline(TASK, pipeline_class=TextBasedPersonSearchPipeline, pt_model=AutoModel)


# The command registers when it loads a checkpoint: `tbps --help` and most work on a gallery need no model.
if not _is_the_command():
    register()
