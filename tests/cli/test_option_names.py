"""A parameter of the Python API and its option of the command line have the same name."""

import argparse
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from command_tree import all_commands

from tbps.cli.main import build_parser
from tbps.data.corpora.writer import write_corpus
from tbps.data.toypedes import generate
from tbps.evaluation.retrieval import evaluate_retrieval
from tbps.gallery import Filter, Gallery, Query
from tbps.gallery.calibration import calibrate
from tbps.sharing.push import push_run

COMMANDS = dict(all_commands(build_parser()))

# what a command calls; its parameters that are no option: objects, positional arguments under another name, and
# settings that only programs need
CALLS: list[tuple[str, Callable[..., Any], set[str]]] = [
    ("search", Gallery.search, set()),
    ("search", Query, {"text"}),
    ("search", Gallery.open, {"where", "model", "processor", "dtype", "token"}),
    ("index", Gallery.open, {"where", "model", "processor", "roots", "token"}),
    ("index", Gallery.add, {"batch_size", "commit_every", "progress"}),
    ("index", Gallery.sync, {"folder", "progress"}),
    ("gallery build-index", Gallery.build_index, {"progress"}),
    ("gallery compact", Gallery.compact, {"progress"}),
    ("gallery remove", Gallery.remove, set()),
    ("gallery calibrate", calibrate, {"model", "processor", "rows", "batch_size", "seed", "progress"}),
    ("data shard", write_corpus, {"name", "progress"}),
    ("data toy", generate, {"workers", "progress"}),
    ("evaluate", evaluate_retrieval, {"model", "processor", "rows", "progress"}),
    ("push", push_run, {"folder", "repo_id"}),
]


def option_names(command: argparse.ArgumentParser) -> set[str]:
    """Names of the options and positional arguments that the help shows, spelt as in Python."""
    shown = [action for action in command._actions if action.help != argparse.SUPPRESS]
    long = {word[2:].replace("-", "_") for action in shown for word in action.option_strings if word.startswith("--")}
    return long | {action.dest for action in shown if not action.option_strings}


@pytest.mark.parametrize(
    ("command", "call", "left_out"), CALLS, ids=[f"{command}-{call.__qualname__}" for command, call, _ in CALLS]
)
def test_every_parameter_is_an_option_of_its_name(command: str, call: Callable[..., Any], left_out: set[str]) -> None:
    parameters = set(inspect.signature(call).parameters) - {"self"}
    assert left_out <= parameters, "no longer parameters"
    assert parameters - left_out <= option_names(COMMANDS[command])


@pytest.mark.parametrize("command", ["search", "gallery list", "gallery remove"])
def test_every_field_of_a_filter_is_an_option_of_its_name(command: str) -> None:
    """But the combinations of filters, which `--where` takes as JSON."""
    fields = set(inspect.signature(Filter).parameters) - {"all_of", "any_of", "none_of"}
    assert fields <= option_names(COMMANDS[command])
