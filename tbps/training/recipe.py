"""Recipes: a YAML file of one flat mapping, any key of which the command line may override."""

import argparse
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from transformers import HfArgumentParser

from tbps.data.benchmarks import find_benchmark
from tbps.data.paths import checkpoint_name, local_path
from tbps.files_tbps import read_regular
from tbps.tower_weights_tbps import did_you_mean
from tbps.training.arguments import TBPSTrainingArguments
from tbps.training.program import METRICS, OneLineErrors
from tbps.training.values import check_limits, fits, spelt


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
HINTS = {name: hint for section in SECTIONS for name, hint in get_type_hints(section).items() if name in KEYS}
RENAMED = {"clean_epochs": "augmentation_warmup_epochs", "part_loss_delay": "part_loss_warmup_ratio"}  # old: new
MOST_BYTES = 2**20  # of a recipe
FROM_SCRATCH = "a model from scratch"
# keys that say nothing but beside one start of the model, and what else says it
OF_START = {
    "image_size": ("clip_checkpoint", "model_config states image_size in its vision_config"),
    "text_length": ("clip_checkpoint", "model_config states max_position_embeddings in its text_config"),
    "tokenizer_vocab_size": (FROM_SCRATCH, "a checkpoint has its own tokenizer"),
}


class RecipeParser(OneLineErrors, HfArgumentParser):
    """The parser of all keys; its usage message would be of hundreds of lines."""


def parse_recipe(arguments: Sequence[str]) -> Recipe:
    """`[recipe.yaml] [--key value ...]` -> the three argument groups; the command line wins over the file.

    Raises:
        RecipeError: the file is not there, no YAML or no mapping, has a key twice or an unknown one (the nearest known
            one is named); a value is of another type or out of its range; no source of the model is named, or two, or
            a key that says nothing beside it.
    """
    parser = RecipeParser(SECTIONS, description="Train a text-based person search model.")
    rest, values = list(arguments), dict[str, Any]()
    if rest and not rest[0].startswith("-"):
        values = read_recipe(Path(rest.pop(0)))
        for action in parser._actions:  # argparse has no other way to satisfy a required option from a file
            if action.dest in values:
                check_value(action, values[action.dest])
                action.required = False
        parser.set_defaults(**values)
    try:
        *sections, unknown = parser.parse_args_into_dataclasses(rest, return_remaining_strings=True)
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, RuntimeError) as error:
        raise RecipeError(f"A value of the recipe cannot be: {error}") from error
    # of misspelled options the names only: a value may be a token
    names = [word.lstrip("-").split("=")[0] for word in unknown if word.startswith("-")]
    check_keys("The command line", names or unknown, KEYS)
    model, data, training = sections
    stated = {*values, *(word.lstrip("-").split("=")[0].replace("-", "_") for word in rest if word.startswith("--"))}
    check_start(model, stated)
    check_data(data, training, stated)
    check_places(model, data, training)
    return Recipe(model, data, training)


def check_value(action: argparse.Action, value: Any) -> None:
    """Refuse a value of the file that is of another type than its key, or none of its choices.

    Raises:
        RecipeError: names the key, the value and what was expected.
    """
    hint = HINTS[action.dest]
    if not fits(value, hint):
        raise RecipeError(f"{action.dest}={value!r:.80} is a {type(value).__name__}: expected {spelt(hint)}.")
    if action.choices is not None and isinstance(value, str) and value not in action.choices:
        raise RecipeError(f"{action.dest}={value!r:.80}: expected one of {', '.join(map(str, action.choices))}.")


def check_start(model: ModelArguments, stated: Collection[str]) -> None:
    """Refuse a start of the model that is none or two, and stated keys that it does not read."""
    sources = [name for name in ("model_name_or_path", "clip_checkpoint") if getattr(model, name)]
    if len(sources) == 2 or not (sources or model.model_config):
        raise RecipeError(
            "A recipe names where the model starts from: model_name_or_path (a tbps checkpoint), clip_checkpoint (CLIP "
            f"towers) or, for a model from scratch, model_config alone. Got {' and '.join(sources) or 'none of them'}."
        )
    start = sources[0] if sources else FROM_SCRATCH
    for name, (reader, instead) in OF_START.items():
        if name in stated and getattr(model, name) is not None and start != reader:
            raise RecipeError(
                f"{name}={getattr(model, name)!r} belongs to {reader}, and {start} does not read it: "
                f"leave it out; {instead}."
            )
    if model.image_size is not None and (len(model.image_size) != 2 or min(model.image_size) < 1):
        raise RecipeError(f"image_size={model.image_size}: expected height and width in pixels, such as [384, 128].")
    check_limits(asdict(model))


def check_places(model: ModelArguments, data: DataArguments, training: TBPSTrainingArguments) -> None:
    """Make paths of `file://` addresses; refuse those of other schemes, which would become folders of that name."""
    places: list[tuple[Any, str, Callable[[str], Any]]]
    places = [(training, "output_dir", local_path), (data, "root", local_path), (data, "corpus", local_path)]
    places += [(model, name, checkpoint_name) for name in ("model_name_or_path", "clip_checkpoint")]
    for section, name, read in places:
        given = getattr(section, name)
        if given is None or (section is model and not given):  # a blank one takes back that of the file
            continue
        try:
            setattr(section, name, str(read(given)))
        except ValueError as error:
            raise RecipeError(f"{name}: {error}") from error


def check_data(data: DataArguments, training: TBPSTrainingArguments, stated: Collection[str]) -> None:
    """Refuse stated keys that the data do not read, and a metric that no evaluation gives."""
    check_limits(asdict(data))
    if "held_out_share" in stated and "val" in find_benchmark(data.benchmark).splits:
        raise RecipeError(f"held_out_share={data.held_out_share}: {data.benchmark} has a val split: leave it out.")
    if "shuffle_buffer" in stated and data.corpus is None:
        raise RecipeError(f"shuffle_buffer={training.shuffle_buffer} belongs to a corpus: leave it out, or name one.")
    metric = str(training.metric_for_best_model).removeprefix("eval_")
    if training.load_best_model_at_end and metric not in METRICS:
        raise RecipeError(f"metric_for_best_model={metric!r}: expected one of {', '.join(METRICS)}.")


class UniqueKeys(yaml.SafeLoader):
    """YAML whose mappings have each key once: of two, the first would be ignored."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, its keys checked."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise RecipeError(f"line {node.start_mark.line + 1} begins a mapping that has {', '.join(twice)} twice.")
        return super().construct_mapping(node, deep)


def read_recipe(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, its keys checked."""
    if not path.is_file():
        raise RecipeError(f"Recipe {path} is not there: expected a YAML file such as recipes/quickstart.yaml.")
    try:
        values = yaml.load(read_regular(path, MOST_BYTES).decode("utf-8-sig"), UniqueKeys)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(f"Recipe {path} is no YAML that can be read: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"Recipe {path} holds a {type(values).__name__}: expected a mapping of `key: value` lines.")
    check_keys(f"Recipe {path}", values, KEYS)
    return values


def check_keys(where: str, names: Iterable[object], known: Sequence[str]) -> None:
    """Refuse misspelled keys and suggest the nearest known ones; refuse renamed keys and give the new names.

    Raises:
        RecipeError: names the unknown or renamed keys.
    """
    unknown = [str(name) for name in names if name not in known]
    if renamed := [f"{old} is now {RENAMED[old]}" for old in unknown if RENAMED.get(old) in known]:
        raise RecipeError(f"{where} has keys that were renamed: {', '.join(renamed)}. Use the new names.")
    if unknown:
        raise RecipeError(
            f"{where} has unknown keys: {', '.join(unknown)}.{did_you_mean(unknown, known)}"
            " `python train_hf.py --help` lists the keys of a recipe, TBPSConfig documents those of model_config."
        )
