"""Recipes: a YAML file with one flat mapping. The command line overrides any key."""

import argparse
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from transformers import HfArgumentParser

from tbps.data.benchmarks import find_benchmark
from tbps.data.paths import checkpoint_name, local_path
from tbps.evaluation.metrics import METRICS
from tbps.files_tbps import read_regular
from tbps.tower_weights_tbps import did_you_mean
from tbps.training.arguments import TBPSTrainingArguments
from tbps.training.program import OneLineErrors
from tbps.training.values import check_limits, has_type, type_name


class RecipeError(ValueError):
    """A recipe cannot be run; the message says what to change."""


@dataclass
class ModelArguments:
    """What the model starts from: a tbps checkpoint, CLIP, or `model_config` alone."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "A tbps checkpoint to continue from: folder or Hub id."}
    )
    clip_checkpoint: str | None = field(
        default=None,
        metadata={"help": "A CLIP checkpoint to take the towers from, such as openai/clip-vit-base-patch16."},
    )
    image_size: list[int] | None = field(
        default=None, metadata={"help": "Height and width in pixels to adapt the CLIP towers to."}
    )
    text_length: int | None = field(
        default=None,
        metadata={
            "help": "Longest caption in tokens, with begin and end; longer ones are cut. If the CLIP text tower has "
            "fewer positions, its table is stretched. Default: the tower's own (CLIP: 77)."
        },
    )
    tokenizer_vocab_size: int | None = field(
        default=None,
        metadata={"help": "From scratch only: size of the tokenizer trained on the training captions."},
    )
    model_config: dict[str, Any] | None = field(
        default=None, metadata={"help": "Fields of TBPSConfig. Without a checkpoint they define the complete model."}
    )


@dataclass
class DataArguments:
    """What to train on."""

    benchmark: str = field(default="CUHK-PEDES", metadata={"help": "CUHK-PEDES, ICFG-PEDES, RSTPReid or ToyPEDES."})
    root: str = field(default="data", metadata={"help": "Folder that contains the benchmark's folder."})
    corpus: str | None = field(
        default=None,
        metadata={
            "help": "Folder made by `tbps data shard`, to train on instead of the benchmark's train split. Val and "
            "test remain the benchmark's (docs/pretraining.md)."
        },
    )
    skip_missing: bool = field(default=False, metadata={"help": "Leave out images that are not on disk."})
    skip_empty_captions: bool = field(default=False, metadata={"help": "Leave out blank captions."})
    held_out_share: float = field(
        default=0.1,
        metadata={"help": "Fraction of training people held out as val if the benchmark has no val split."},
    )


@dataclass
class Recipe:
    """The parsed arguments of one training run."""

    model: ModelArguments
    data: DataArguments
    training: TBPSTrainingArguments


SECTIONS = (ModelArguments, DataArguments, TBPSTrainingArguments)
KEYS = [entry.name for section in SECTIONS for entry in fields(section) if entry.init]
HINTS = {name: hint for section in SECTIONS for name, hint in get_type_hints(section).items() if name in KEYS}
RENAMED = {"clean_epochs": "augmentation_warmup_epochs", "part_loss_delay": "part_loss_warmup_ratio"}  # old: new
MOST_BYTES = 2**20  # of a recipe
FROM_SCRATCH = "random weights"
# keys that only one start of the model reads, and what to set instead
OF_START = {
    "image_size": ("clip_checkpoint", "set image_size in the vision_config of model_config"),
    "text_length": ("clip_checkpoint", "set max_position_embeddings in the text_config of model_config"),
    "tokenizer_vocab_size": (FROM_SCRATCH, "a checkpoint has its own tokenizer"),
}


class RecipeParser(OneLineErrors, HfArgumentParser):
    """Parser of all keys. It prints no usage message, which would have hundreds of lines."""


def parse_recipe(arguments: Sequence[str]) -> Recipe:
    """Parse `[recipe.yaml] [--key value ...]`; the command line overrides the file.

    Raises:
        RecipeError: the file does not exist or is not a YAML mapping; a key is unknown, renamed or given twice; a value
            has the wrong type or is out of range; the start of the model is missing or ambiguous, or does not read one
            of the given keys.
    """
    parser = RecipeParser(SECTIONS, description="Train a text-based person search model.")
    rest, values = list(arguments), dict[str, Any]()
    if rest and not rest[0].startswith("-"):
        values = read_recipe(Path(rest.pop(0)))
        for action in parser._actions:  # argparse has no public way to fill a required option from a file
            if action.dest in values:
                check_value(action, values[action.dest])
                action.required = False
        parser.set_defaults(**values)
    try:
        *sections, unknown = parser.parse_args_into_dataclasses(rest, return_remaining_strings=True)
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, RuntimeError) as error:
        remedy = " Without such a GPU: --bf16 false --use_cpu true." if "support bf16" in str(error) else ""
        raise RecipeError(f"The recipe has an invalid value: {error}{remedy}") from error
    # names only, as the value of a misspelled option may be a token
    names = [key_of(word) for word in unknown if word.startswith("-")]
    check_keys("The command line", names or unknown, KEYS)
    model, data, training = sections
    given = {*values, *(key_of(word) for word in rest if word.startswith("--"))}
    check_start(model, given)
    check_data(data, training, given)
    check_places(model, data, training)
    return Recipe(model, data, training)


def check_value(action: argparse.Action, value: Any) -> None:
    """Check that a value of the file has the type of its key and is one of its choices.

    Raises:
        RecipeError: names the key, the value and what was expected.
    """
    hint = HINTS[action.dest]
    if not has_type(value, hint):
        raise RecipeError(f"{action.dest}={value!r:.80} is a {type(value).__name__}: expected {type_name(hint)}.")
    if action.choices is not None and isinstance(value, str) and value not in action.choices:
        raise RecipeError(f"{action.dest}={value!r:.80}: expected one of {', '.join(map(str, action.choices))}.")


def check_start(model: ModelArguments, given: Collection[str]) -> None:
    """Check that the model has one start, and that this start reads the keys that were given."""
    sources = [name for name in ("model_name_or_path", "clip_checkpoint") if getattr(model, name)]
    if len(sources) == 2 or not (sources or model.model_config):
        raise RecipeError(
            "A recipe needs one start for the model: model_name_or_path (a tbps checkpoint), clip_checkpoint (CLIP "
            f"towers) or, from scratch, model_config alone. Got {' and '.join(sources) or 'none of them'}."
        )
    start = sources[0] if sources else FROM_SCRATCH
    for name, (reader, instead) in OF_START.items():
        if name in given and getattr(model, name) is not None and start != reader:
            raise RecipeError(
                f"{name}={getattr(model, name)!r} only works with {reader}, and this model starts from {start}. "
                f"Leave it out: {instead}."
            )
    if model.image_size is not None and (len(model.image_size) != 2 or min(model.image_size) < 1):
        raise RecipeError(f"image_size={model.image_size}: expected height and width in pixels, such as [384, 128].")
    check_limits(asdict(model))


def check_places(model: ModelArguments, data: DataArguments, training: TBPSTrainingArguments) -> None:
    """Turn `file://` addresses into paths. Other schemes are refused, as they would become folders of that name."""
    places: list[tuple[Any, str, Callable[[str], Any]]]
    places = [(training, "output_dir", local_path), (data, "root", local_path), (data, "corpus", local_path)]
    places += [(model, name, checkpoint_name) for name in ("model_name_or_path", "clip_checkpoint")]
    for section, name, read in places:
        given = getattr(section, name)
        if given is None or (section is model and not given):  # an empty string clears the value of the file
            continue
        try:
            setattr(section, name, str(read(given)))
        except ValueError as error:
            raise RecipeError(f"{name}: {error}") from error


def check_data(data: DataArguments, training: TBPSTrainingArguments, given: Collection[str]) -> None:
    """Check that the data read the keys that were given, and that evaluation gives the metric."""
    check_limits(asdict(data))
    if "held_out_share" in given and "val" in find_benchmark(data.benchmark).splits:
        raise RecipeError(f"held_out_share={data.held_out_share}: {data.benchmark} has a val split. Leave it out.")
    if "shuffle_buffer" in given and data.corpus is None:
        raise RecipeError(
            f"shuffle_buffer={training.shuffle_buffer} needs a corpus. Set corpus, or remove shuffle_buffer."
        )
    metric = str(training.metric_for_best_model).removeprefix("eval_")
    if training.load_best_model_at_end and metric not in METRICS:
        raise RecipeError(f"metric_for_best_model={metric!r}: expected one of {', '.join(METRICS)}.")


class UniqueKeys(yaml.SafeLoader):
    """YAML loader that refuses a key given twice in a mapping; yaml would ignore the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping after checking its keys."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise RecipeError(f"The mapping at line {node.start_mark.line + 1} has {', '.join(twice)} twice.")
        return super().construct_mapping(node, deep)


def read_recipe(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file and check its keys."""
    if not path.is_file():
        raise RecipeError(f"Recipe {path} is not a file: expected a YAML file such as recipes/quickstart.yaml.")
    try:
        values = yaml.load(read_regular(path, MOST_BYTES).decode("utf-8-sig"), UniqueKeys)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(f"Recipe {path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"Recipe {path} holds a {type(values).__name__}: expected a mapping of `key: value` lines.")
    check_keys(f"Recipe {path}", values, KEYS)
    return values


def key_of(option: str) -> str:
    """The key that a command-line option such as `--learning-rate=1e-4` sets."""
    return option.lstrip("-").split("=")[0].replace("-", "_")


def check_keys(where: str, names: Iterable[object], known: Sequence[str]) -> None:
    """Check that keys are known. The error suggests the nearest known names, and the new names of renamed keys.

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
