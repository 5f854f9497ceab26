"""Files and text that others made: opened, shown and loaded only after a check.

Regular files of a bounded size, text that is safe to print, and checkpoints: where they are, which version saved them,
and whether they are damaged.

The command line uses this module before it needs a model, so slow imports are inside the functions that need them.
"""

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import category

if TYPE_CHECKING:
    import torch

VERSION = "0.2.0.dev0"  # of tbps; code that is copied to the Hub carries the version that it was copied from
CONFIG_NAME = "config.json"
MAX_TEXT_BYTES = 2**29  # bytes of a text file that is read at once: a line for each of millions of images

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}


# -- regular files: a FIFO may wait for ever, and a device has no end


def check_regular(path: str | Path, found: os.stat_result) -> None:
    """Refuse a path that is not a regular file, by its status.

    Raises:
        ValueError: the message says what it is.
    """
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "not a file")
        raise ValueError(f"{path} is {kind}: expected a regular file.")


def open_regular(path: str | Path, limit: int | None) -> BufferedReader:
    """Open a regular file of at most `limit` bytes (None: any size) for reading, without waiting.

    The check reads the status of the open file, so nothing can replace the file between check and use.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is not a regular file, or is larger.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(_on_disk(path), flags)
    except OSError:
        check_regular(path, os.stat(_on_disk(path)))  # a socket cannot be opened, and on Windows neither can a folder
        raise
    try:
        found = os.fstat(descriptor)
        check_regular(path, found)
        _check_size(path, found.st_size, limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a regular file, or is larger.
    """
    with open_regular(path, limit) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(min(size, limit) + 1)
        if data is not None and len(data) > size:  # a growing file, or one of the kernel, whose size reads as 0
            data += file.read(limit + 1 - len(data)) or b""
    if data is None:  # a file of the kernel that has nothing yet, such as /proc/kmsg
        raise ValueError(f"{path} has nothing to read now: expected a complete file.")
    _check_size(path, len(data), limit)
    return data


def _on_disk(path: str | Path) -> str | Path:
    """Name by which this process finds a file: letters that its locale cannot encode are UTF-8 on disk."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return os.fsdecode(str(path).encode("utf-8", "surrogateescape"))
    return path


def _check_size(path: str | Path, size: int, limit: int | None) -> None:
    if limit is not None and size > limit:
        raise ValueError(f"{path} has more than {limit} bytes, the limit for such a file.")


# -- text


def printable(text: str) -> str:
    """Make text safe to print on one line.

    Control characters, line breaks, bidirectional overrides and zero-width letters are spelt out, as `\\x1b` and
    `\\u202e`. In a file name that is not UTF-8, so are the invalid bytes, as `photo \\xe9.jpg`.
    """
    return text if text.isprintable() else "".join(map(_spelt, text))


def printable_lines(text: str) -> str:
    """Make text of several lines safe to print; line breaks stay."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _spelt(letter: str) -> str:
    if letter.isprintable() or category(letter) == "Zs":  # spaces of any script
        return letter
    invalid_byte = 0xDC80 <= ord(letter) <= 0xDCFF  # Python's form of a byte that is not UTF-8
    return f"\\x{ord(letter) - 0xDC00:02x}" if invalid_byte else ascii(letter)[1:-1]


# -- where a checkpoint is: checked before Transformers takes a wrong path for a name on the Hub

EXPECTED = (
    "expected a checkpoint: a folder that save_pretrained wrote (config.json, model.safetensors, processor), or the "
    "name of one on the Hub, OWNER/MODEL"
)
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar")
_FILES = re.compile(r".*\.(pth?|bin|ckpt|pkl|pickle|tar|safetensors|onnx|gguf|json|ya?ml|zip)", re.IGNORECASE)
_LARGEST_CONFIG = 1 << 24  # bytes


def check_source(source: Any) -> None:
    """Refuse a name that is neither a folder nor a possible name on the Hub.

    Raises:
        ValueError: it is a file.
        FileNotFoundError: nothing is there.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    path = Path(source)
    if path.is_dir():
        return
    if path.exists():
        advice = f"Give its folder, {path.parent}."
        if path.suffix.lower() in _PICKLES:
            advice = (
                "torch.save wrote this file as a pickle, which can run any code when it is opened. Load it where it "
                "was made, and save the model with save_pretrained."
            )
        raise ValueError(f"{source} is a file: {EXPECTED}. {advice}")
    try:
        validate_repo_id(str(source))
        on_hub = not _FILES.fullmatch(path.name)
    except HFValidationError:
        on_hub = False
    if not on_hub:
        raise FileNotFoundError(f"{source} does not exist: {EXPECTED}.")


def check_checkpoint(source: Any, model_type: str | None = None, subfolder: str = "") -> None:
    """Refuse a folder without a model. A checkpoint on the Hub is not fetched for this.

    Args:
        model_type: what config.json must name; None takes any.

    Raises:
        ValueError: a file, or a folder without a configuration or with another model.
        FileNotFoundError: nothing is there.
    """
    check_source(source)
    folder = Path(source) / subfolder
    if not folder.is_dir() or (folder / "adapter_config.json").is_file():  # an adapter names the model that it changes
        return
    path = folder / CONFIG_NAME
    if not path.is_file():
        names = sorted(entry.name for entry in folder.iterdir())
        holds = f"it holds {', '.join(names[:5])}{' ...' if names[5:] else ''}" if names else "it is empty"
        raise ValueError(f"{folder} has no {CONFIG_NAME} ({holds}): {EXPECTED}.")
    found = _model_type(path)
    if model_type not in (None, found):
        raise ValueError(
            f"{folder} holds a model of type {found!r}: expected a tbps checkpoint. To build one from towers such as "
            "CLIP, use TBPSModel.from_vision_text_pretrained (clip_checkpoint in a recipe)."
        )


def _model_type(path: Path) -> str:
    try:
        found = json.loads(read_regular(path, _LARGEST_CONFIG).decode("utf-8"))["model_type"]
    except KeyError:
        raise ValueError(f"{path} has no model_type, so it does not configure a model: {EXPECTED}.") from None
    except (ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not a configuration ({reason:.200}). Get the checkpoint again.") from error
    return str(found)


def commit_of(source: Any, **hub: Any) -> str | None:
    """Return the commit of a checkpoint that is in the cache of the Hub, by name or by path; None for other folders."""
    from transformers.utils import cached_file
    from transformers.utils.hub import extract_commit_hash

    try:
        path = cached_file(source, CONFIG_NAME, **{**hub, "local_files_only": True})
    except (OSError, ValueError):  # loading the checkpoint reports it
        return None
    return extract_commit_hash(path, None)


# -- checkpoints that another version of tbps saved

REMOVED_FIELDS: dict[str, Any] = {  # fields of `TBPSConfig` in tbps 0.1.0, with the values that change nothing
    "decoder_intermediate_size": None,
    "decoder_dropout": 0.0,
    "learn_logit_scale": False,
}
TRAINING_ONLY = ("decoder_dropout", "learn_logit_scale")  # removed fields that change no embedding


def warn_if_newer(saved_by: str | None) -> None:
    """Warn once that a checkpoint is newer than this code, which may lack what it needs.

    Args:
        saved_by: version that saved it; None in the first checkpoints, which are older.
    """
    from packaging.version import InvalidVersion, Version

    try:
        newer = saved_by is not None and Version(saved_by) > Version(VERSION)
    except InvalidVersion:  # a build of one's own
        newer = True
    if newer:
        _warn_once(version_hint(str(saved_by)))


def version_hint(saved_by: str) -> str:
    """Name the version that saved a checkpoint and the one that loads it, and say what to do."""
    return (
        f"tbps {saved_by} saved this checkpoint, and tbps {VERSION} loads it. If something does not match, load it "
        f"with tbps {saved_by}."
    )


def drop_removed(settings: dict[str, Any]) -> dict[str, Any]:
    """Drop removed fields that have their neutral value.

    Returns:
        `settings` itself.

    Raises:
        ValueError: a removed field has another value.
    """
    for name, neutral in REMOVED_FIELDS.items():
        value = settings.pop(name, neutral)
        if value != neutral:
            raise ValueError(
                f"{name}={value!r:.80}: TBPSConfig no longer has {name}. Leave it out. A checkpoint saved with this "
                "value needs tbps 0.1.0."
            )
    return settings


def warn_of_removed(settings: dict[str, Any]) -> dict[str, Any]:
    """Copy settings without the removed fields that matter for training only; warn if one of them changed it."""
    for name in TRAINING_ONLY:
        if settings.get(name, REMOVED_FIELDS[name]) != REMOVED_FIELDS[name]:
            _warn_once(
                f"This checkpoint was trained with {name}={settings[name]!r:.80}, and TBPSConfig no longer has {name}. "
                "Its embeddings do not change, but further training goes on without it. To keep it, train with tbps "
                "0.1.0."
            )
    return {name: value for name, value in settings.items() if name not in TRAINING_ONLY}


def _warn_once(message: str) -> None:
    from transformers.utils import logging

    logging.get_logger(__name__).warning_once(message)


# -- damage

# errors in which reading a damaged or altered file ends
_DAMAGE = (TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, RecursionError)


@contextmanager
def report_damage(what: str) -> Iterator[None]:
    """Turn errors from reading a damaged or altered file into one kind.

    Args:
        what: name of what is read, for the message.

    Raises:
        ValueError: says what was read and why that failed.
    """
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except StrictDataclassError as error:  # it names the check first, and then the reason
        raise ValueError(f"{what}: {error.__cause__ or error}") from error
    except (json.JSONDecodeError, *_DAMAGE) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{what} cannot be read ({reason:.300}): one of its files is damaged or altered.") from error


def refuse_non_finite(source: Any, weights: "Iterable[tuple[str, torch.Tensor]]") -> None:
    """Refuse weights with NaN or infinity: every embedding would be NaN, and no search would report it.

    Raises:
        ValueError: names up to three of the tensors.
    """
    broken = [name for name, weight in weights if not weight.is_meta and not weight.isfinite().all()]
    if broken:
        raise ValueError(
            f"{source} has NaN or infinite weights in {', '.join(broken[:3])} ({len(broken)} of its tensors): its "
            "training diverged, or the file is damaged. Use an earlier checkpoint."
        )
