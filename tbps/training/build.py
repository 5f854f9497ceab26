"""Build what a recipe describes: splits, model and processor."""

import dataclasses
from itertools import islice
from typing import Any, TypeAlias

import datasets
import numpy as np
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from tbps.configuration_tbps import TBPSConfig
from tbps.data.benchmarks import find_benchmark
from tbps.data.corpora.corpus import Corpus
from tbps.data.loading import load_benchmark
from tbps.data.splits import captions_of, hold_out_identities, person_ids_of, select_split
from tbps.files_tbps import REMOVED_FIELDS, check_checkpoint
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSImageProcessor, TBPSProcessor, cap_length
from tbps.tower_weights_tbps import check_tower_fields
from tbps.training.recipe import DataArguments, ModelArguments, RecipeError, check_keys
from tbps.training.tokenizer import train_tokenizer

Rows: TypeAlias = datasets.Dataset | Corpus

TOWERS = ("vision_config", "text_config")
MOST_CAPTIONS = 200_000  # of a corpus, to train a tokenizer on


def load_splits(data: DataArguments, seed: int) -> dict[str, Any]:
    """Load the train, val and test splits of the recipe.

    If the benchmark has no val split, some identities of train are held out as val. If the recipe names a corpus, it
    replaces the train split.
    """
    splits = load_benchmark(
        data.benchmark, data.root, skip_missing=data.skip_missing, skip_empty_captions=data.skip_empty_captions
    )
    if "val" not in find_benchmark(data.benchmark).splits:
        splits["train"], splits["val"] = hold_out_identities(splits["train"], data.held_out_share, seed)
    for split in ("train", "val", "test"):
        select_split(splits, data.benchmark, split)  # fail before hours of training
    return {**splits, "train": Corpus(data.corpus)} if data.corpus else splits


def build_model(arguments: ModelArguments, train: Rows) -> tuple[TBPSModel, TBPSProcessor]:
    """Build the model of a recipe and its processor.

    The model gets an instance-loss head for the people of `train`, unless `train` is a corpus.

    Raises:
        RecipeError: `model_config` does not describe a model. ValueError, OSError: a checkpoint cannot be read.
    """
    people = 0 if isinstance(train, Corpus) else len(np.unique(person_ids_of(train)))
    fields: dict[str, Any] = {"num_identities": people, **(arguments.model_config or {})}
    if removed := sorted(REMOVED_FIELDS.keys() & fields):
        raise RecipeError(f"model_config has {', '.join(removed)}: TBPSConfig no longer has such a field. Remove it.")
    check_keys("model_config", fields, [entry.name for entry in dataclasses.fields(TBPSConfig)])
    for tower in TOWERS:
        if not isinstance(fields.get(tower), dict | None):
            raise RecipeError(f"{tower} of model_config must be a mapping, got {fields[tower]!r:.80}.")
    try:
        if arguments.model_name_or_path:
            return continued(arguments.model_name_or_path, fields)
        if arguments.clip_checkpoint:
            return from_clip(arguments.clip_checkpoint, arguments.image_size, arguments.text_length, fields)
        return from_scratch(arguments.tokenizer_vocab_size or 4096, train, fields)
    except StrictDataclassError as error:  # its message names the check, its cause the reason
        raise RecipeError(f"model_config: {error.__cause__ or error}") from error
    except (TypeError, ArithmeticError, RuntimeError, AttributeError, AssertionError, LookupError) as error:
        raise RecipeError(f"model_config does not describe a model: {type(error).__name__}, {error}") from error


def continued(checkpoint: str, fields: dict[str, Any]) -> tuple[TBPSModel, TBPSProcessor]:
    """Load a tbps checkpoint with some fields of its configuration changed."""
    check_checkpoint(checkpoint, TBPSConfig.model_type)
    config = TBPSConfig.from_pretrained(checkpoint)
    for tower in TOWERS:
        check_tower_fields(fields.get(tower) or {}, getattr(config, tower))
    model = TBPSModel.from_pretrained(checkpoint, **fields)
    return model, TBPSProcessor.from_pretrained(checkpoint)


def from_clip(
    checkpoint: str, image_size: list[int] | None, text_length: int | None, fields: dict[str, Any]
) -> tuple[TBPSModel, TBPSProcessor]:
    """Build a model from CLIP's towers and tokenizer; the part decoder starts from random weights."""
    size = (image_size[0], image_size[1]) if image_size else None
    fields = {"part_weight": TBPSConfig.part_weight, **fields}  # not 0, as this run trains the parts
    model = TBPSModel.from_vision_text_pretrained(checkpoint, image_size=size, text_length=text_length, **fields)
    length = text_length or (fields.get("text_config") or {}).get("max_position_embeddings")
    processor = TBPSProcessor.from_vision_text_pretrained(
        checkpoint, image_size=model.config.image_size, text_length=length
    )
    return model, processor


def from_scratch(vocab_size: int, train: Rows, fields: dict[str, Any]) -> tuple[TBPSModel, TBPSProcessor]:
    """Build a model of random weights, and train a word tokenizer on the training captions."""
    if isinstance(train, Corpus):
        captions = list(islice(train.captions(), MOST_CAPTIONS))
    else:
        captions = [caption for row in captions_of(train) for caption in row]
    tokenizer = train_tokenizer(captions, vocab_size)
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    fixed = {"vocab_size": len(tokenizer), **special}
    text = fields.get("text_config") or {}
    if given := sorted(fixed.keys() & text.keys()):
        raise RecipeError(
            f"text_config sets {', '.join(given)}. A model from scratch takes them from the tokenizer that is trained "
            "on its captions. Leave them out, and set tokenizer_vocab_size."
        )
    towers = {
        "vision_config": tower_config("clip_vision_model", fields.get("vision_config") or {}),
        "text_config": tower_config("clip_text_model", {**text, **fixed}),
    }
    if fields.get("vision_config") is None:  # use the default of TBPSConfig instead of CLIP's
        del towers["vision_config"]
    config = TBPSConfig(**{**fields, **towers})
    return TBPSModel(config), make_processor(config, tokenizer)


def tower_config(default: str, given: dict[str, Any]) -> PreTrainedConfig:
    """Build the configuration of a tower from scratch.

    Raises:
        ValueError: this type of tower does not have a given setting. RecipeError: the type is unknown.
    """
    kind = given.get("model_type", default)
    if kind not in CONFIG_MAPPING:
        raise RecipeError(f"model_type must be a model type of Transformers, such as {default!r}, got {kind!r}.")
    check_tower_fields(given, AutoConfig.for_model(kind))
    return AutoConfig.for_model(**{**given, "model_type": kind})


def make_processor(config: TBPSConfig, tokenizer: Any) -> TBPSProcessor:
    """Build a processor with the image size and text length of the model."""
    height, width = config.image_size
    image_processor = TBPSImageProcessor(size={"height": height, "width": width})
    return TBPSProcessor(image_processor, cap_length(tokenizer, config.text_config.max_position_embeddings))
