"""Check that a gallery is opened with the model that made it. Scores between vectors of two models mean nothing."""

import hashlib
import json
import re
from typing import Any

import torch

from tbps.evaluation.fingerprint import ROUNDED, SETTINGS, ModelIdentity, all_settings
from tbps.evaluation.probes import distance
from tbps.gallery.checks import GalleryError
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSProcessor

# How far apart rounding takes two vectors of one input, relative to their length. For a ViT-B/16 with random weights:
# 3e-7 with another number of threads, 8e-7 with another kernel, 1.5e-3 in float16, 1.4e-2 in bfloat16. Changing a
# weight of a part query by 1e-3 gives 1e-4 to 6e-4, which the hash of the weights notices.
_SAME_PRECISION = 1e-5
_ROUNDED = {"float32": 5e-3, "float16": 1e-2, "bfloat16": 5e-2}  # float32 on a GPU may be TF32

_READ_BY = {"tokenizer": "the tokenizer", "model": "the model", "sentences": "the tokenizer", "pictures": "the image "
            "processor"}  # fmt: skip


class OlderIdentityError(GalleryError):
    """A gallery was converted from format 2, and knows its model by the older fingerprint."""


def check_model(where: str, made_by: ModelIdentity, opened_with: ModelIdentity) -> None:
    """
    Refuse a model whose vectors are not those of the gallery.

    Args:
        where: the gallery's folder or address, for the message.
        made_by: the model that made the gallery. opened_with: the model given now.

    Raises:
        GalleryError: the weights, the settings or the vectors of the probes differ; the message names the first
            difference.
        OlderIdentityError: the two cannot be compared, because the gallery has a fingerprint of format 2.
    """
    found = difference(made_by, opened_with)
    if found is None:
        return
    kind = OlderIdentityError if opened_with.traits and not made_by.traits else GalleryError
    raise kind(
        f"The gallery {where} was made with {made_by} and is opened with {opened_with}: {found}, so the scores would "
        "mean nothing. Open it with the model that made it, or add the images to a new gallery in another place."
    )


def difference(made_by: ModelIdentity, opened_with: ModelIdentity) -> str | None:
    """
    Describe the first difference between two models that changes vectors; None if there is only rounding.

    The weights and the vocabulary must be equal, because probes cannot cover all of them; weights may be in another
    precision. Other settings may differ as long as they do not change the vector of any probe.
    """
    old, new = made_by.traits, opened_with.traits
    if made_by.embedding_dim != opened_with.embedding_dim:
        return f"vectors of {made_by.embedding_dim} numbers there are {opened_with.embedding_dim} here"
    if not (old and new):
        same = made_by.fingerprint == opened_with.fingerprint
        older = ", and one of them is of format 2" if old or new else ""
        return None if same else f"their fingerprints differ{older} (weights, part_weight or the image processor)"
    rounded = _rounding(old, new)
    if rounded is None:
        return "their weights differ"
    changes = [change for name in SETTINGS for change in _changes(name, old[name], new[name])]
    certain = [words for words, sure in changes if sure or not (old["probes"] and new["probes"])]
    if certain:
        return certain[0]
    return _effect(old, new, {rounded, old["precision"], new["precision"]}, [words for words, _ in changes])


def _rounding(old: dict[str, str], new: dict[str, str]) -> str | None:
    """Return "float32" for equal weights; the dtype if one model has the other's weights rounded to it; else None."""
    if old["weights"] == new["weights"]:
        return "float32"
    for dtype, name in ROUNDED.items():
        if old["weights"] == new[name] or new["weights"] == old[name]:
            return str(dtype).removeprefix("torch.")
    return None


def _changes(name: str, old: str, new: str) -> list[tuple[str, bool]]:
    """
    Describe the settings of a group that differ.

    Returns:
        For each the description, and whether it alone makes another model. Settings of the tokenizer do, and settings
        of a tower that both models have. One version of Transformers may know more settings than another.
    """
    before, now = json.loads(old), json.loads(new)
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    return [
        (
            f"{key:.80} of {_READ_BY[name]} {_values(before.get(key, 'not set'), now.get(key, 'not set'))}",
            name == "tokenizer" or (name == "model" and "." in key and key in before and key in now),
        )
        for key in changed
    ]


def _values(before: Any, now: Any) -> str:
    """Describe two values of a setting. Long values are stored as a hash only."""
    hashed = any(isinstance(value, str) and value.startswith("#") for value in (before, now))
    return "differs" if hashed else f"is {before!s:.80} there and {now!s:.80} here"


def _effect(old: dict[str, str], new: dict[str, str], roundings: set[str], changes: list[str]) -> str | None:
    """Compare the probes of two models of equal weights and vocabulary, within the tolerance of rounding."""
    if not (old["probes"] and new["probes"]):
        return None
    allowed = max(_ROUNDED.get(one, _SAME_PRECISION) for one in roundings)
    allowed = _SAME_PRECISION if changes else allowed
    found = distance(old["probes"], new["probes"])
    if found <= allowed:
        return None
    why = changes[0] if changes else "no setting that is known here differs"
    return f"the same images and texts get vectors that are {found:.2g} apart ({why})"


_PIXEL_SETTINGS = (
    "size",
    "resample",
    "image_mean",
    "image_std",
    "rescale_factor",
    "do_resize",
    "do_rescale",
    "do_normalize",
    "do_convert_rgb",
)
_NO_PART_OF_AN_EMBEDDING = re.compile(
    r"num_identities|commonality|cmr_.*|part_matching_.*|.*_loss|.*_loss_weight|.*logit_scale.*|initializer.*"
    r"|.*_dropout|dtype|id2label|label2id|transformers_version|tbps_version|architectures|auto_map|_name_or_path|_.*"
    r"|use_cache"
)
# settings that should not have been part of it, with their defaults
_DEFAULTS = {"output_hidden_states": False, "output_attentions": False, "return_dict": True}


def old_fingerprint(model: TBPSModel, processor: TBPSProcessor) -> str:
    """
    Compute the fingerprint of galleries of format 2.

    It covers the weights, most settings, and the vocabulary of the tokenizer. Reads all weights once.
    """
    digest = hashlib.blake2b(digest_size=16)
    weights = {name.replace("_orig_mod.", ""): tensor for name, tensor in model.state_dict().items()}
    for name, tensor in sorted(weights.items()):
        if name.startswith("id_head."):
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    settings = processor.image_processor.to_dict()
    pixels = {name: settings.get(name) for name in _PIXEL_SETTINGS}
    words = [processor.tokenizer.get_vocab(), processor.tokenizer.model_max_length]
    described = [_embedding_settings(all_settings(model.config)), pixels, words]
    digest.update(json.dumps(described, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _embedding_settings(config: dict[Any, Any]) -> dict[str, Any]:
    return {
        str(name): _embedding_settings(value) if isinstance(value, dict) else _DEFAULTS.get(name, value)
        for name, value in config.items()
        if not _NO_PART_OF_AN_EMBEDDING.fullmatch(str(name))
    }
