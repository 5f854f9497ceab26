"""A model whose parameters FSDP 2 shards over processes: before, during and after training."""

from typing import Any

from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from transformers import TrainerCallback

from tbps.modeling_tbps import TBPSModel


def scale_to_buffer(model: TBPSModel) -> None:
    """Turn the similarity scale into a buffer of the same name: FSDP cannot shard a parameter of one number."""
    scale = model.logit_scale.detach()
    del model.logit_scale
    model.register_buffer("logit_scale", scale)


class ShardedFeatures(TrainerCallback):
    """Lets evaluation encode texts and images with a sharded model.

    FSDP collects the parameters only for `forward` and for methods that are registered.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Register the methods; the model is sharded by now."""
        for method in ("get_text_features", "get_image_features"):
            register_fsdp_forward_method(kwargs["model"], method)  # does nothing to other models


def gather_full_model(model: TBPSModel) -> TBPSModel:
    """Return the model with all parameters in every process; a model that is not sharded is returned unchanged."""
    if not isinstance(model, FSDPModule):
        return model
    full = TBPSModel(model.config).to(model.device)
    full.from_checkpoint = model.from_checkpoint
    full.load_state_dict(get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)))
    return full.train(model.training)
