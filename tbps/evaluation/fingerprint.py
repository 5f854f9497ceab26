"""Identify the model that encoded a vector, as vectors of different models cannot be compared."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import xxhash
from accelerate.utils.modeling import get_state_dict_offloaded_model

from tbps.configuration_tbps import TBPSConfig
from tbps.evaluation.probes import TEXTS, probe, vectors_of
from tbps.files_tbps import REMOVED_FIELDS
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor

SETTINGS = (
    "tokenizer",
    "model",
    "sentences",
    "pictures",
)  # traits that are JSON objects of settings; galleries store these names
ROUNDED = {torch.float16: "weights in float16", torch.bfloat16: "weights in bfloat16"}
_LONGEST = 60  # characters; longer values are replaced by their hash
_MOST = 1_000_000  # characters of settings that are read from a file

# fields that do not change an embedding: training, precision, the form of an output, and bookkeeping
_IGNORED_MODEL_SETTINGS = re.compile(
    r"num_identities|commonality|cmr_.*|part_matching_.*|.*_loss|.*_loss_weight|.*logit_scale.*|initializer.*"
    r"|.*dropout.*|drop_path.*|layerdrop|dtype|id2label|label2id|num_labels|problem_type|transformers_version"
    r"|tbps_version|architectures|auto_map|custom_pipelines|_name_or_path|_.*|output_.*|return_dict|torchscript"
    r"|gradient_checkpointing|chunk_size_feed_forward|tie_word_embeddings"
    r"|use_cache"  # of generation; Trainer sets it and saving leaves it out
)
# parts of a tokenizer's description that do not change the ids of a text, and the settings of a call that do
_IGNORED_TOKENIZER_SETTINGS = ("version", "truncation", "padding", "decoder")
_SENTENCE_SETTINGS = ("padding_side", "truncation_side", "model_max_length", "model_input_names")
_IGNORED_IMAGE_SETTINGS = (
    "image_processor_type",
    "processor_class",
    "auto_map",
    "data_format",
    "return_tensors",
    "device",
)


@dataclass(frozen=True)
class ModelIdentity:
    """A model's `name` for people, `fingerprint` (hex), `embedding_dim` E, and `revision` (commit) on the Hub, if any.

    The fingerprint covers everything that determines the vectors. `traits` are its parts, so that a difference can be
    named: hashes of the weights, exact and rounded, the settings as JSON, the `precision`, and the `probes` (see
    `tbps.evaluation.probes`). Galleries of format 2 have no traits.
    """

    name: str
    fingerprint: str
    embedding_dim: int
    revision: str | None = None
    traits: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.traits:  # they may come from a file of somebody else
            check_traits(self.traits)

    def __str__(self) -> str:
        return f"{self.name!r} (fingerprint {self.fingerprint[:12]})"


def identify(model: TBPSModel, processor: TBPSProcessor) -> ModelIdentity:
    """Identify a model with its processor. Reads all weights once and encodes a few probes."""
    settings = {
        "tokenizer": _tokenizer_settings(processor.tokenizer) | {"ids of no words": model.config.masked_token_ids},
        "model": _model_settings(all_settings(model.config)),
        "sentences": {name: getattr(processor.tokenizer, name) for name in _SENTENCE_SETTINGS},
        "pictures": _image_settings(processor.image_processor.to_dict()),
    }
    weights = _weights(model)
    described = {name: _text({key: _short(value) for key, value in settings[name].items()}) for name in SETTINGS}
    fingerprint = xxhash.xxh3_128_hexdigest(_text({"weights": weights["weights"], **described}).encode())
    effects = {"precision": str(model.dtype).removeprefix("torch."), "probes": probe(model, processor)}
    name = model.config.name_or_path or "unnamed model"
    revision = getattr(model.config, "_commit_hash", None)
    return ModelIdentity(name, fingerprint, model.config.embedding_dim, revision, weights | described | effects)


def all_settings(config: TBPSConfig) -> dict[Any, Any]:
    """Return a configuration as a dictionary, with the removed fields that fingerprints of older galleries have."""
    return {**REMOVED_FIELDS, **config.to_dict()}


def check_traits(traits: dict[str, str]) -> None:
    """Check that `identify` can have written the traits.

    Raises:
        ValueError: names the first trait that is missing, unknown or malformed.
    """
    known = {"weights", *ROUNDED.values(), *SETTINGS, "precision", "probes"}
    if wrong := sorted(traits.keys() ^ known):
        raise ValueError(f"traits of a model: {wrong[0]!r:.80} is missing or unknown")
    for name in SETTINGS:
        try:
            if type(json.loads(traits[name])) is not dict or len(traits[name]) > _MOST:
                raise ValueError("expected a JSON object of at most a million characters")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"traits of a model: the settings of {name} cannot be read ({error!s:.80})") from None
    try:
        vectors_of(traits["probes"])
    except ValueError as error:
        raise ValueError(f"traits of a model: the probes cannot be read ({error!s:.80})") from None


def _weights(model: TBPSModel) -> dict[str, str]:
    """Hash the weights, exact and rounded to each half precision."""
    hashes = {name: xxhash.xxh3_128() for name in ("weights", *ROUNDED.values())}
    for name, tensor in _tensors(model):
        shape = f"{name} {tuple(tensor.shape)}\n".encode()
        for kept in hashes.values():
            kept.update(shape)
        number = tensor.is_floating_point()
        hashes["weights"].update(_bytes(tensor.float() if number else tensor))
        for dtype, kept_as in ROUNDED.items():
            hashes[kept_as].update(_bytes(tensor.to(dtype).float() if number else tensor))
    return {name: kept.hexdigest() for name, kept in hashes.items()}


def _tensors(model: TBPSModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors that embeddings depend on, with their names in a model that is neither compiled nor offloaded."""
    on_meta = any(parameter.is_meta for parameter in model.parameters())
    state = get_state_dict_offloaded_model(model) if on_meta else model.state_dict()
    for name, tensor in sorted((name.replace("_orig_mod.", ""), tensor) for name, tensor in state.items()):
        if not name.startswith(("id_head.", "logit_scale")):  # used by losses and scores, not by vectors
            yield name, tensor.detach().cpu()


def _bytes(tensor: torch.Tensor) -> Any:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy()


def _model_settings(config: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Settings of a configuration and its sub-configurations that may change an embedding, by dotted names."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if _IGNORED_MODEL_SETTINGS.fullmatch(str(name)):
            continue
        if isinstance(value, dict):
            found |= _model_settings(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _tokenizer_settings(tokenizer: Any) -> dict[str, Any]:
    """Settings that determine the ids of a text: the tokenizer's own description.

    If it has none: its `do_` options, its vocabulary, and the ids of the probes.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        own = {name: value for name, value in vars(tokenizer).items() if name.startswith("do_")}
        ids = tokenizer(list(TEXTS), verbose=False)["input_ids"]
        return {**own, "class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab(), "ids": ids}
    described = json.loads(backend.to_str())
    words = {f"model.{name}": value for name, value in described.pop("model").items()}
    kept = {name: value for name, value in described.items() if name not in _IGNORED_TOKENIZER_SETTINGS}
    return kept | words | {"split_special_tokens": tokenizer.split_special_tokens}


def _image_settings(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in settings.items()
        if value is not None and name not in _IGNORED_IMAGE_SETTINGS and not name.startswith("_")
    }


def _short(value: Any) -> Any:
    """Return a short value unchanged, and the hash of a long one."""
    text = _text(value)
    return json.loads(text) if len(text) <= _LONGEST else f"#{xxhash.xxh3_64_hexdigest(text.encode())}"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
