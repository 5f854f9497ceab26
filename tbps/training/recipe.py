"""Recipes: a YAML file of one flat mapping, any key of which the command line may override."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser

from tbps.pretrained_tbps import did_you_mean
from tbps.training.arguments import TBPSTrainingArguments


class RecipeError(ValueError):
    """A recipe that cannot be run; the message says what to change."""


@dataclass
class ModelArguments:
    """Where the model starts from: exactly one of the three sources."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "A tbps checkpoint to go on from: directory or Hub id."}
    )
    clip_checkpoint: str | None = field(
        default=None,
        metadata={"help": "A CLIP checkpoint whose towers to start from, e.g. openai/clip-vit-base-patch16."},
    )
    image_size: list[int] | None = field(
        default=None, metadata={"help": "Height and width in pixels that the CLIP towers are adapted to."}
    )
    text_length: int | None = field(
        default=None,
        metadata={
            "help": "Tokens at which a caption is cut, begin and end included. More than the CLIP text tower has "
            "positions: its table is stretched. Default: the tower's own (CLIP: 77)."
        },
    )
    tokenizer_vocab_size: int | None = field(
        default=None, metadata={"help": "From scratch only: size of the tokenizer trained on the training captions."}
    )
    model_config: dict[str, Any] | None = field(
        default=None, metadata={"help": "Fields of TBPSConfig; the whole model where there is no checkpoint."}
    )


@dataclass
class DataArguments:
    """What to train on."""

    benchmark: str = field(default="CUHK-PEDES", metadata={"help": "CUHK-PEDES, ICFG-PEDES, RSTPReid or ToyPEDES."})
    root: str = field(default="data", metadata={"help": "Folder that holds the benchmark's own folder."})
    corpus: str | None = field(
        default=None,
        metadata={
            "help": "Folder that `tbps data shard` made, to train on in the place of the benchmark's train split; val "
            "and test remain the benchmark's (docs/pretraining.md)."
        },
    )
    skip_missing: bool = field(default=False, metadata={"help": "Go on without images that are not on disk."})
    skip_empty_captions: bool = field(default=False, metadata={"help": "Go on without captions that are blank."})
    held_out_share: float = field(
        default=0.1, metadata={"help": "Share of training people held out as val where a benchmark has no val split."}
    )


@dataclass
class Recipe:
    """One training run, parsed."""

    model: ModelArguments
    data: DataArguments
    training: TBPSTrainingArguments


SECTIONS = (ModelArguments, DataArguments, TBPSTrainingArguments)
KEYS = [entry.name for section in SECTIONS for entry in fields(section) if entry.init]


def parse_recipe(arguments: Sequence[str]) -> Recipe:
    """`[recipe.yaml] [--key value ...]` -> the three argument groups; the command line wins over the file.

    Raises:
        RecipeError: the file is not there or no mapping, has an unknown key (the nearest known one is named), or
            names no source of the model, or two, or a text_length without CLIP towers.
    """
    parser = HfArgumentParser(SECTIONS, description="Train a text-based person search model.")
    rest = list(arguments)
    if rest and not rest[0].startswith("-"):
        values = read_recipe(Path(rest.pop(0)))
        for action in parser._actions:  # argparse has no other way to satisfy a required option from a file
            if action.dest in values:
                action.required = False
        parser.set_defaults(**values)
    *sections, unknown = parser.parse_args_into_dataclasses(rest, return_remaining_strings=True)
    # of misspelled options the names only: a value may be a token
    names = [word.lstrip("-").split("=")[0] for word in unknown if word.startswith("-")]
    check_keys("The command line", names or unknown, KEYS)
    model, data, training = sections
    sources = [name for name in ("model_name_or_path", "clip_checkpoint") if getattr(model, name)]
    if len(sources) == 2 or not (sources or model.model_config):
        raise RecipeError(
            "A recipe names where the model starts from: model_name_or_path (a tbps checkpoint), clip_checkpoint (CLIP "
            f"towers) or, for a model from scratch, model_config alone. Got {' and '.join(sources) or 'none of them'}."
        )
    if model.text_length is not None and not model.clip_checkpoint:
        raise RecipeError(
            f"text_length={model.text_length} adapts CLIP towers, and the recipe names no clip_checkpoint: a model "
            "from scratch has max_position_embeddings in model_config's text_config, a tbps checkpoint its own length."
        )
    return Recipe(model, data, training)


def read_recipe(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, its keys checked."""
    if not path.is_file():
        raise RecipeError(f"Recipe {path} is not there: expected a YAML file such as recipes/quickstart.yaml.")
    values = yaml.safe_load(path.read_text())
    if not isinstance(values, dict):
        raise RecipeError(f"Recipe {path} holds a {type(values).__name__}: expected a mapping of `key: value` lines.")
    check_keys(f"Recipe {path}", values, KEYS)
    return values


def check_keys(where: str, names: Iterable[object], known: Sequence[str]) -> None:
    """Refuse misspelled keys, with the nearest known ones.

    Raises:
        RecipeError: names the unknown keys.
    """
    unknown = [str(name) for name in names if name not in known]
    if unknown:
        raise RecipeError(
            f"{where} has unknown keys: {', '.join(unknown)}.{did_you_mean(unknown, known)}"
            " `python train_hf.py --help` lists the keys of a recipe, TBPSConfig documents those of model_config."
        )
