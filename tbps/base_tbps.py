"""What Transformers needs to know of every TBPS model: how it is loaded, and from which random weights it starts."""

from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import logging

from .checkpoint_tbps import damage_named, mismatches_untold, refuse_broken, refuse_misfits, refuse_pickle
from .configuration_tbps import TBPSConfig
from .decoder_tbps import PartDecoder, PartDecoderLayer, stripes
from .initialisation_tbps import WhollyInitialised
from .source_tbps import check_checkpoint, commit_of
from .towers_tbps import ConvStem

logger = logging.get_logger(__name__)


class TBPSPreTrainedModel(WhollyInitialised, PreTrainedModel):
    """What Transformers needs to know of every TBPS model."""

    config: TBPSConfig
    from_checkpoint: frozenset[str] = frozenset()  # names of the parameters that did not start from random weights
    base_model_prefix = "tbps"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # Trainer must divide the loss by the accumulation steps itself
    _no_split_modules = [  # noqa: RUF012 - our own; `post_init` adds the towers'
        "PartDecoder", "ConvStem", "RectangularVisionEmbeddings", "RectangularSiglipEmbeddings",
    ]  # fmt: skip
    _keys_to_ignore_on_load_unexpected = [r"^id_head\."]  # noqa: RUF012 - not part of what is shared
    _supports_sdpa = True
    _supports_flash_attn = True  # in the towers; the part decoder has its own attention
    _supports_flex_attn = True
    _supports_attention_backend = True

    def post_init(self) -> None:
        """Name as indivisible only what this model has: FSDP refuses names that it does not find."""
        super().post_init()
        present = {type(module).__name__ for module in self.modules()}
        self._no_split_modules = sorted(present.intersection(self._no_split_modules))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """`PreTrainedModel.from_pretrained`, of safetensors only. An instance-loss head for another number of people
        than `num_identities` is made anew, with a warning.

        Raises:
            ValueError: it is no checkpoint of tbps, or its configuration cannot be; the weights are a pickle, of other
                sizes than the configuration asks for (unless `ignore_mismatched_sizes`), or not finite.
            OSError: nothing is there, no weights, or the file is damaged.
        """
        source = pretrained_model_name_or_path
        if source is not None and not isinstance(kwargs.get("config"), PreTrainedConfig):
            check_checkpoint(source, TBPSConfig.model_type, kwargs.get("subfolder", ""))
        told = kwargs.pop("output_loading_info", False)
        any_size = kwargs.pop("ignore_mismatched_sizes", False)
        names = ("subfolder", "revision", "token", "cache_dir", "local_files_only")
        hub = {name: kwargs[name] for name in names if name in kwargs}
        settings = {"use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True}
        try:
            with mismatches_untold() as untold, damage_named(f"The checkpoint {source}"):
                model, info = super().from_pretrained(source, *args, **{**kwargs, **settings})
        except SafetensorError as error:
            raise OSError(f"The weights of {source} are damaged ({error}): get the checkpoint again.") from error
        except OSError:
            refuse_pickle(source, **hub)
            raise
        if any_size and untold:
            logger.warning(untold[0])
        elif not any_size:
            refuse_misfits(source, info["mismatched_keys"])
        refuse_broken(source, model.named_parameters())
        model.from_checkpoint = loaded_names(model, info)
        scale = None if source is None else stated_scale(source, kwargs, hub)
        if scale is not None:
            nn.init.constant_(model.logit_scale, scale)
        model.config._commit_hash = None if source is None else commit_of(source, **hub)
        model.freeze()  # loading put other parameters in the place of those that were frozen
        return (model, info) if told else model

    def freeze(self) -> None:
        """Exempt from training what the configuration says is not trained."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, PartDecoder):
            # Small queries: the norm before the attention sets them apart anyhow, and what they read outweighs what
            # they are. Large ones drown the tokens, all people's parts start alike and get no gradient.
            init.normal_(module.queries, std=self.config.initializer_range)
            if module.place_bias is not None:
                init.copy_(module.place_bias, stripes(self.config))
        elif isinstance(module, PartDecoderLayer):
            attention = module.cross_attn
            for linear in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
                init.xavier_uniform_(linear.weight)
            for linear in (module.fc1, module.fc2):
                init.xavier_uniform_(linear.weight)
        elif isinstance(module, ConvStem):
            for layer in module:
                if isinstance(layer, nn.Conv2d):
                    init.kaiming_normal_(layer.weight, nonlinearity="relu")


def loaded_names(model: nn.Module, info: dict[str, Any]) -> frozenset[str]:
    """The names of all parameters but those that were missing or of another size."""
    drawn = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    return frozenset(name for name, _ in model.named_parameters() if name not in drawn)


def stated_scale(source: Any, settings: dict[str, Any], hub: dict[str, Any]) -> float | None:
    """The `logit_scale_init_value` that a caller of `from_pretrained` states, by name or in a configuration of another
    one than the checkpoint's: it wins over the scale that the checkpoint ended with. None where none is stated."""
    config = settings.get("config")
    if not isinstance(config, PreTrainedConfig):
        return settings.get("logit_scale_init_value")
    own = TBPSConfig.get_config_dict(source, **hub)[0].get("logit_scale_init_value")
    scale: float = config.logit_scale_init_value
    return None if own is None or own == scale else scale
