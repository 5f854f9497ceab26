"""Text-based person search for Hugging Face Transformers: find the images of a person from a sentence."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tbps.auto import register
from tbps.checkpoint_tbps import VERSION
from tbps.configuration_tbps import TBPSConfig
from tbps.modeling_tbps import TBPSModel
from tbps.pipeline_tbps import TextBasedPersonSearchPipeline
from tbps.processing_tbps import TBPSImageProcessor, TBPSProcessor

if TYPE_CHECKING:
    from tbps.gallery import Gallery
    from tbps.training.arguments import TBPSTrainingArguments
    from tbps.training.trainer import TBPSTrainer

__version__ = VERSION
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

# What not every user of the model needs is imported when it is asked for: datasets and the trainer take seconds.
LAZY = {
    "Gallery": "tbps.gallery",
    "TBPSTrainer": "tbps.training.trainer",
    "TBPSTrainingArguments": "tbps.training.arguments",
}


def __getattr__(name: str) -> Any:
    if name in LAZY:
        return getattr(import_module(LAZY[name]), name)
    raise AttributeError(f"module 'tbps' has no attribute {name!r}")


register()
