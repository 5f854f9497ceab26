"""A model whose parameters are sharded over processes (FSDP 2): before, while and after it trains."""

from typing import Any

from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from transformers import TrainerCallback

from tbps.modeling_tbps import TBPSModel


def keep_scale_whole(model: TBPSModel) -> None:
    """Make a buffer of the similarity scale, of the same name in checkpoints: FSDP shards no parameter of one number.

    Raises:
        ValueError: the scale is to be trained.
    """
    if model.config.learn_logit_scale:
        raise ValueError(
            "learn_logit_scale=true, but FSDP shards no parameter of a single number: set learn_logit_scale to false, "
            "or train with recipes/accelerate/ddp.yaml or deepspeed_zero2.yaml."
        )
    scale = model.logit_scale.detach()
    del model.logit_scale
    model.register_buffer("logit_scale", scale)


class ShardedFeatures(TrainerCallback):
    """Lets evaluation embed texts and images with a sharded model: FSDP collects parameters for `forward` alone unless
    it is told of other methods."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The model is sharded by now."""
        for method in ("get_text_features", "get_image_features"):
            register_fsdp_forward_method(kwargs["model"], method)  # does nothing to other models


def unsharded(model: TBPSModel) -> TBPSModel:
    """The same model with all parameters in every process; one that is not sharded is returned as it is."""
    if not isinstance(model, FSDPModule):
        return model
    whole = TBPSModel(model.config).to(model.device)
    whole.from_checkpoint = model.from_checkpoint
    whole.load_state_dict(get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)))
    return whole.train(model.training)
