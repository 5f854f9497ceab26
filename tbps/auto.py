"""Makes Auto classes and `pipeline` know tbps, and checkpoints carry the code that others need to load them."""

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from tbps.configuration_tbps import TASK, TBPSConfig
from tbps.modeling_tbps import TBPSModel
from tbps.pipeline_tbps import TextBasedPersonSearchPipeline
from tbps.processing_tbps import TBPSImageProcessor, TBPSProcessor


def register() -> None:
    """Register with the Auto classes and pipelines of this process (no trust needed), and have `save_pretrained` copy
    the model's code beside the weights (for `trust_remote_code=True` where tbps is not installed)."""
    AutoConfig.register(TBPSConfig.model_type, TBPSConfig, exist_ok=True)
    AutoModel.register(TBPSConfig, TBPSModel, exist_ok=True)
    AutoImageProcessor.register(TBPSConfig, slow_image_processor_class=TBPSImageProcessor, exist_ok=True)
    AutoProcessor.register(TBPSConfig, TBPSProcessor, exist_ok=True)
    TBPSConfig.register_for_auto_class("AutoConfig")
    TBPSModel.register_for_auto_class("AutoModel")
    TBPSImageProcessor.register_for_auto_class("AutoImageProcessor")
    TBPSProcessor.register_for_auto_class("AutoProcessor")
    # transformers asks for trust wherever a checkpoint names a pipeline, though the registered one runs no code of it
    TBPSConfig.reads_custom_pipelines = False
    if TASK not in PIPELINE_REGISTRY.get_supported_tasks():  # a second time it would say that it is there
        PIPELINE_REGISTRY.register_pipeline(TASK, pipeline_class=TextBasedPersonSearchPipeline, pt_model=AutoModel)
