"""Text-based person search for Hugging Face Transformers: find the images of a person from a sentence."""

from tbps.auto import register
from tbps.configuration_tbps import TBPSConfig
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSImageProcessor, TBPSProcessor
from tbps.training.arguments import TBPSTrainingArguments
from tbps.training.trainer import TBPSTrainer

__version__ = "0.1.0"
__all__ = ["TBPSConfig", "TBPSImageProcessor", "TBPSModel", "TBPSProcessor", "TBPSTrainer", "TBPSTrainingArguments"]

register()
