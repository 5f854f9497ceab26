"""What is said of a checkpoint that does not fit: the version that saved it, its sizes, damage, a pickle, NaN.

Files that somebody else chose are opened only where they are regular files of a bounded size.

A FIFO waits for a writer that may never come, a device has no end, and neither says so by its name.

Text that somebody else wrote (names of files, metadata, a gallery's model), made safe to look at.

What is named as a checkpoint: refused where it is a file, a folder of something else or nothing, before Transformers
takes it for a name on the Hub; and which commit of the Hub it is.
"""

import json
import logging
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

# The command line reads files by this module before it needs a model: what takes seconds is imported where it is used.
CONFIG_NAME = "config.json"
MOST_TEXT = 2**29  # bytes of a file of text that is read as a whole: a line for each of millions of images

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}


def check_regular(path: str | Path, found: os.stat_result) -> None:
    """
    Refuse what is no regular file, by its status.

    Raises:
        ValueError: it is something else; the message says what.
    """
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise ValueError(f"{path} is {kind}: expected a regular file.")


def open_regular(path: str | Path, limit: int | None) -> BufferedReader:
    """
    A regular file of at most `limit` bytes (None: of any number), opened for reading. Nothing is waited for: the kind
    is asked of what was opened, so no other file can take its place in between.

    Raises:
        OSError: it cannot be opened. ValueError: it is no regular file, or larger.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(_on_disk(path), flags)
    except OSError:
        check_regular(path, os.stat(_on_disk(path)))  # a socket cannot be opened, a folder not on Windows
        raise
    try:
        found = os.fstat(descriptor)
        check_regular(path, found)
        _check_size(path, found.st_size, limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _on_disk(path: str | Path) -> str | Path:
    """The name by which this process finds a file: text that its locale has no letters for is UTF-8 on disk."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return os.fsdecode(str(path).encode("utf-8", "surrogateescape"))
    return path


def read_regular(path: str | Path, limit: int) -> bytes:
    """
    The bytes of a regular file.

    Raises:
        OSError: it cannot be read. ValueError: it is no regular file, or has more than `limit` bytes.
    """
    with open_regular(path, limit) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(min(size, limit) + 1)
        if data is not None and len(data) > size:  # it grows, or it is a file of the kernel, which says it has no bytes
            data += file.read(limit + 1 - len(data)) or b""
    if data is None:  # of a file of the kernel that others would wait for, as /proc/kmsg
        raise ValueError(f"{path} has nothing to be read now: expected a file that is there as a whole.")
    _check_size(path, len(data), limit)
    return data


def _check_size(path: str | Path, size: int, limit: int | None) -> None:
    if limit is not None and size > limit:
        raise ValueError(f"{path} has more than {limit} bytes, which is the most that is read of such a file.")


def printable(text: str) -> str:
    """One line of text without what would steer a terminal or turn the order of letters: control characters, line
    breaks, bidirectional overrides and letters of no width are spelt out, as `\\x1b` and `\\u202e`.

    Of a file name that is not UTF-8 the bytes at fault are shown, as `photo \\xe9.jpg`.
    """
    return text if text.isprintable() else "".join(map(_spelt, text))


def printable_lines(text: str) -> str:
    """The same for text of several lines, whose line breaks stay."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _spelt(letter: str) -> str:
    if letter.isprintable() or category(letter) == "Zs":  # spaces of any script
        return letter
    foreign = 0xDC80 <= ord(letter) <= 0xDCFF  # how Python spells a byte of a name that is no UTF-8
    return f"\\x{ord(letter) - 0xDC00:02x}" if foreign else ascii(letter)[1:-1]


EXPECTED = (
    "expected a checkpoint: a folder that save_pretrained wrote (config.json, model.safetensors, processor), or the "
    "name of one on the Hub, OWNER/MODEL"
)
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar")
_FILES = re.compile(r".*\.(pth?|bin|ckpt|pkl|pickle|tar|safetensors|onnx|gguf|json|ya?ml|zip)", re.IGNORECASE)
_LARGEST_CONFIG = 1 << 24  # bytes


def check_place(source: Any) -> None:
    """Refuse a name that is neither a folder nor can be one on the Hub.

    Raises:
        ValueError: it is a file. FileNotFoundError: there is nothing.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    path = Path(source)
    if path.is_dir():
        return
    if path.exists():
        advice = f"give its folder, {path.parent}"
        if path.suffix.lower() in _PICKLES:
            advice = (
                "what torch.save wrote is a pickle, which can run any code when it is opened: load it where it was "
                "made, and save the model by save_pretrained"
            )
        raise ValueError(f"{source} is no folder: {EXPECTED}. Of this file, {advice}.")
    try:
        validate_repo_id(str(source))
        on_hub = not _FILES.fullmatch(path.name)
    except HFValidationError:
        on_hub = False
    if not on_hub:
        raise FileNotFoundError(f"{source} is not there: {EXPECTED}.")


def check_checkpoint(source: Any, model_type: str | None = None, subfolder: str = "") -> None:
    """Refuse what holds no model; a folder only, what is on the Hub is not fetched for this.

    Args:
        model_type: what config.json must say; None takes any.

    Raises:
        ValueError: a file, or a folder without a configuration or of another kind. FileNotFoundError: nothing is there.
    """
    check_place(source)
    folder = Path(source) / subfolder
    if not folder.is_dir() or (folder / "adapter_config.json").is_file():  # adapters name the model that they change
        return
    path = folder / CONFIG_NAME
    if not path.is_file():
        there = sorted(entry.name for entry in folder.iterdir())
        holds = f"it holds {', '.join(there[:5])}{' ...' if there[5:] else ''}" if there else "it is empty"
        raise ValueError(f"{folder} holds no {CONFIG_NAME} ({holds}): {EXPECTED}.")
    found = _model_type(path)
    if model_type not in (None, found):
        raise ValueError(
            f"{folder} holds a model of type {found!r}: expected a tbps checkpoint; of towers, such as CLIP, "
            "TBPSModel.from_vision_text_pretrained (clip_checkpoint in a recipe) makes one."
        )


def _model_type(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise ValueError("it is too large")
        found = json.loads(path.read_text(encoding="utf-8"))["model_type"]
    except KeyError:
        raise ValueError(f"{path} names no model_type: it is no configuration of a model. Here {EXPECTED}.") from None
    except (ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is no configuration ({reason:.200}): get the checkpoint again.") from error
    return str(found)


def commit_of(source: Any, **hub: Any) -> str | None:
    """The commit that a checkpoint in the cache of the Hub is of, by name or by path; None for other folders."""
    from transformers.utils import cached_file
    from transformers.utils.hub import extract_commit_hash

    try:
        path = cached_file(source, CONFIG_NAME, **{**hub, "local_files_only": True})
    except (OSError, ValueError):  # it is told where the checkpoint is loaded
        return None
    return extract_commit_hash(path, None)


VERSION = "0.1.0"  # of tbps; code that is copied to the Hub carries the version that it was copied from
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
# what reading a file ends in that does not hold what its name promises
OF_DAMAGE = (TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, RecursionError)


def warn_of_newer(saved_by: str | None) -> None:
    """Say once that a checkpoint is newer than this code, which does not know what was added since.

    Args:
        saved_by: version that saved it; None, as the first checkpoints have it, is older.
    """
    from packaging.version import InvalidVersion, Version

    try:
        newer = saved_by is not None and Version(saved_by) > Version(VERSION)
    except InvalidVersion:  # of somebody's own build
        newer = True
    if newer:
        from transformers.utils import logging

        logging.get_logger(__name__).warning_once(tell_versions(str(saved_by)))


def tell_versions(saved_by: str) -> str:
    """The version that saved a checkpoint, the one that loads it, and what to do."""
    return (
        f"This checkpoint was saved by tbps {saved_by} and is loaded by the code of tbps {VERSION}; where something "
        f"does not fit, load it by tbps {saved_by}."
    )


def refuse_pickle(source: Any, subfolder: str = "", **hub: Any) -> None:
    """Called where `source`, a directory or Hub id, has no safetensors: refuse what else it may hold.

    Raises:
        ValueError: it holds a pickle.
    """
    from transformers.utils import has_file

    prefix = f"{subfolder}/" if subfolder else ""
    found = [name for name in PICKLES if has_file(source, prefix + name, **hub)]
    if found:
        raise ValueError(
            f"{source} holds {prefix}{found[0]}, a pickle, and no model.safetensors: a pickle can run any code when it "
            "is opened, so tbps loads safetensors only. Ask whoever made it to save it by `save_pretrained` of "
            "Transformers 5, which writes model.safetensors."
        )


def refuse_misfits(source: Any, mismatched: Iterable[tuple[str, Any, Any]]) -> None:
    """Refuse weights of other sizes than the configuration asks for, but those of the instance-loss head, which belongs
    to the people of one training set and is made anew for others.

    Raises:
        ValueError: names the first weight with its size in the checkpoint and in the model.
    """
    misfits = sorted((name, tuple(saved), tuple(made)) for name, saved, made in mismatched)
    heads = [misfit for misfit in misfits if misfit[0].startswith("id_head.")]
    if others := [misfit for misfit in misfits if misfit not in heads]:
        name, saved, made = others[0]
        raise ValueError(
            f"{source} has {name} of size {saved}, the configuration asks for {made} (of {len(others)} that do "
            "not fit): leave the sizes as the checkpoint has them, or train a model of these sizes from its towers."
        )
    if heads:
        _, saved, made = heads[0]
        logging.getLogger(__name__).warning(
            f"{source} has an instance-loss head for {saved[0]} people, {made[0]} are asked for: the head starts anew."
        )


def refuse_broken(source: Any, weights: "Iterable[tuple[str, torch.Tensor]]") -> None:
    """Refuse weights that are not finite: every embedding would be NaN, and no search would say so.

    Raises:
        ValueError: names up to three of them.
    """
    broken = [name for name, weight in weights if not weight.is_meta and not weight.isfinite().all()]
    if broken:
        raise ValueError(
            f"{source} holds NaN or infinite weights in {', '.join(broken[:3])} ({len(broken)} of its tensors): its "
            "training diverged or the file is damaged; use an earlier checkpoint."
        )


@contextmanager
def damage_named(what: str) -> Iterator[None]:
    """Make one kind of error of those that end the reading of a file which is damaged or altered.

    Args:
        what: is read, for the message.

    Raises:
        ValueError: says what is read and why that failed.
    """
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except StrictDataclassError as error:  # says first which check refused the value, and then why
        raise ValueError(f"{what}: {error.__cause__ or error}") from error
    except (json.JSONDecodeError, *OF_DAMAGE) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{what} cannot be read ({reason:.300}): a file of it is damaged or altered.") from error


@contextmanager
def mismatches_untold() -> Iterator[list[str]]:
    """Hold back what Transformers says of weights of other sizes ("reinitialised") while a checkpoint is loaded:
    `refuse_misfits` decides what becomes of them. Yields the list of what was held back."""
    held: list[str] = []

    def passes(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if "LOAD REPORT" not in message or "MISMATCH" not in message:
            return True
        held.append(message)
        return False

    talking = logging.getLogger("transformers.modeling_utils")
    talking.addFilter(passes)
    try:
        yield held
    finally:
        talking.removeFilter(passes)
