"""From a recipe to what a training run needs: splits, processor, model.

A small tokenizer for a text tower that is trained from scratch.
"""

import dataclasses
from collections.abc import Iterable
from itertools import islice
from typing import Any, TypeAlias

import datasets
import numpy as np
from huggingface_hub.errors import StrictDataclassError
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from tokenizers.trainers import WordLevelTrainer
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedTokenizerFast

from tbps.configuration_tbps import TBPSConfig
from tbps.data.benchmarks import find_benchmark
from tbps.data.corpora.corpus import Corpus
from tbps.data.loading import load_benchmark
from tbps.data.splits import captions_of, hold_out_identities, person_ids_of, select_split
from tbps.files_tbps import check_checkpoint
from tbps.modeling_tbps import TBPSModel
from tbps.processing_tbps import TBPSImageProcessor, TBPSProcessor, limited
from tbps.tower_weights_tbps import check_tower_fields
from tbps.training.recipe import DataArguments, ModelArguments, RecipeError, check_keys

BEGIN, END, UNKNOWN = "<|startoftext|>", "<|endoftext|>", "<|unknown|>"
WORD = r"[\p{L}\p{N}]+(?:[-'][\p{L}\p{N}]+)*"  # "t-shirt" is one word; punctuation says nothing about a person


def train_tokenizer(captions: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A lower-casing word tokenizer of the most frequent words, with begin and end tokens as CLIP's has them.

    Words and not byte pairs: the byte-pair trainer breaks ties at random, so that two runs of one seed, or a run and
    its resumption, would not read the same ids (tokenizers 0.23).

    Args:
        captions: the training captions, and no others. vocab_size: entries at most, the three special ones included.

    Raises:
        ValueError: one text in the place of captions, whose words would be its letters; no room for a single word.
    """
    if isinstance(captions, str):
        raise ValueError(f"captions={captions!r:.80}: expected several texts, such as a list.")
    if vocab_size < 4:
        raise ValueError(f"vocab_size={vocab_size} (tokenizer_vocab_size): expected more than the 3 special tokens.")
    tokenizer = Tokenizer(WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), behavior="removed", invert=True)
    trainer = WordLevelTrainer(vocab_size=vocab_size, special_tokens=[BEGIN, END, UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (BEGIN, END)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
        unk_token=UNKNOWN,
        model_input_names=["input_ids", "attention_mask"],
    )


Rows: TypeAlias = datasets.Dataset | Corpus

TOWERS = ("vision_config", "text_config")
MOST_CAPTIONS = 200_000  # of a corpus, from which a tokenizer is trained


def load_splits(data: DataArguments, seed: int) -> dict[str, Any]:
    """The benchmark's train, val and test; val is held out of train, by identity, where the benchmark has none. Train
    is the corpus where there is one."""
    splits = load_benchmark(
        data.benchmark, data.root, skip_missing=data.skip_missing, skip_empty_captions=data.skip_empty_captions
    )
    if "val" not in find_benchmark(data.benchmark).splits:
        splits["train"], splits["val"] = hold_out_identities(splits["train"], data.held_out_share, seed)
    for split in ("train", "val", "test"):
        select_split(splits, data.benchmark, split)  # before hours of training, not after
    return {**splits, "train": Corpus(data.corpus)} if data.corpus else splits


def build_model(arguments: ModelArguments, train: Rows) -> tuple[TBPSModel, TBPSProcessor]:
    """The model that the recipe asks for, with an instance-loss head for the people of `train` (a corpus: without),
    and its processor.

    Raises:
        RecipeError: no model can be built of `model_config`. ValueError, OSError: no checkpoint can be read.
    """
    people = 0 if isinstance(train, Corpus) else len(np.unique(person_ids_of(train)))
    fields: dict[str, Any] = {"num_identities": people, **(arguments.model_config or {})}
    check_keys("model_config", fields, [entry.name for entry in dataclasses.fields(TBPSConfig)])
    for tower in TOWERS:
        if not isinstance(fields.get(tower), dict | None):
            raise RecipeError(f"{tower}={fields[tower]!r:.80} of model_config: expected a mapping.")
    try:
        if arguments.model_name_or_path:
            return continued(arguments.model_name_or_path, fields)
        if arguments.clip_checkpoint:
            return from_clip(arguments.clip_checkpoint, arguments.image_size, arguments.text_length, fields)
        return from_scratch(arguments.tokenizer_vocab_size or 4096, train, fields)
    except StrictDataclassError as error:  # says first which check refused the value, and then why
        raise RecipeError(f"model_config: {error.__cause__ or error}") from error
    except (TypeError, ArithmeticError, RuntimeError, AttributeError, AssertionError, LookupError) as error:
        raise RecipeError(f"No model can be built of this model_config: {type(error).__name__}, {error}") from error


def continued(checkpoint: str, fields: dict[str, Any]) -> tuple[TBPSModel, TBPSProcessor]:
    """A tbps checkpoint, with `fields` of its configuration changed."""
    check_checkpoint(checkpoint, TBPSConfig.model_type)
    config = TBPSConfig.from_pretrained(checkpoint)
    for tower in TOWERS:
        check_tower_fields(fields.get(tower) or {}, getattr(config, tower))
    model = TBPSModel.from_pretrained(checkpoint, **fields)
    return model, TBPSProcessor.from_pretrained(checkpoint)


def from_clip(
    checkpoint: str, image_size: list[int] | None, text_length: int | None, fields: dict[str, Any]
) -> tuple[TBPSModel, TBPSProcessor]:
    """CLIP's towers and tokenizer; the part decoder starts from random weights."""
    size = (image_size[0], image_size[1]) if image_size else None
    fields = {"part_weight": TBPSConfig.part_weight, **fields}  # not 0: this run trains the parts
    model = TBPSModel.from_vision_text_pretrained(checkpoint, image_size=size, text_length=text_length, **fields)
    length = text_length or (fields.get("text_config") or {}).get("max_position_embeddings")
    processor = TBPSProcessor.from_vision_text_pretrained(
        checkpoint, image_size=model.config.image_size, text_length=length
    )
    return model, processor


def from_scratch(vocab_size: int, train: Rows, fields: dict[str, Any]) -> tuple[TBPSModel, TBPSProcessor]:
    """A model of random weights and a word tokenizer trained on the training captions."""
    if isinstance(train, Corpus):
        captions = list(islice(train.captions(), MOST_CAPTIONS))
    else:
        captions = [caption for row in captions_of(train) for caption in row]
    tokenizer = train_tokenizer(captions, vocab_size)
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    fixed = {"vocab_size": len(tokenizer), **special}
    text = fields.get("text_config") or {}
    if stated := sorted(fixed.keys() & text.keys()):
        raise RecipeError(
            f"text_config states {', '.join(stated)}: a model from scratch has them from the tokenizer that is trained "
            "on its captions, whose size is tokenizer_vocab_size. Leave them out."
        )
    towers = {
        "vision_config": tower_config("clip_vision_model", fields.get("vision_config") or {}),
        "text_config": tower_config("clip_text_model", {**text, **fixed}),
    }
    if fields.get("vision_config") is None:  # the default of TBPSConfig, not that of CLIP
        del towers["vision_config"]
    config = TBPSConfig(**{**fields, **towers})
    return TBPSModel(config), make_processor(config, tokenizer)


def tower_config(default: str, given: dict[str, Any]) -> PreTrainedConfig:
    """The configuration of a tower from scratch, its settings checked.

    Raises:
        ValueError: a setting that this type of tower does not have.
    """
    kind = given.get("model_type", default)
    if kind not in CONFIG_MAPPING:
        raise RecipeError(f"model_type={kind!r} is no type of model that Transformers has, such as {default!r}.")
    check_tower_fields(given, AutoConfig.for_model(kind))
    return AutoConfig.for_model(**{**given, "model_type": kind})


def make_processor(config: TBPSConfig, tokenizer: Any) -> TBPSProcessor:
    """A processor whose picture size and sentence length are those of the model."""
    height, width = config.image_size
    image_processor = TBPSImageProcessor(size={"height": height, "width": width})
    return TBPSProcessor(image_processor, limited(tokenizer, config.text_config.max_position_embeddings))
