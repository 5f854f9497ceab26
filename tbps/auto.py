"""Makes Transformers' Auto classes know tbps, and checkpoints carry the code that others need to load them."""

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor

from tbps.configuration_tbps import TBPSConfig
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSImageProcessor, TBPSProcessor


def register() -> None:
    """Register with the Auto classes of this process (no trust needed), and have `save_pretrained` copy the model's
    code beside the weights (for `trust_remote_code=True` where tbps is not installed)."""
    AutoConfig.register(TBPSConfig.model_type, TBPSConfig, exist_ok=True)
    AutoModel.register(TBPSConfig, TBPSModel, exist_ok=True)
    AutoImageProcessor.register(TBPSConfig, slow_image_processor_class=TBPSImageProcessor, exist_ok=True)
    AutoProcessor.register(TBPSConfig, TBPSProcessor, exist_ok=True)
    TBPSConfig.register_for_auto_class("AutoConfig")
    TBPSModel.register_for_auto_class("AutoModel")
    TBPSImageProcessor.register_for_auto_class("AutoImageProcessor")
    TBPSProcessor.register_for_auto_class("AutoProcessor")
