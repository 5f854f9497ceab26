"""The folder that a corpus is written into: what it holds already, for one conversion at a time."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tbps.data.atomic_files import broken_link, locked, target_of_partial
from tbps.data.corpora.index import INDEX, CorpusError, CorpusIndex, read_index

LOCK = "corpus.lock"
OWN_FILE = re.compile(r"shard-\d{5,}\.parquet|" + re.escape(INDEX))
OPTIONS = {"entries_per_shard": " (--entries-per-shard)", "images": " (--images)"}


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Make the folder, keep other conversions out of it, and remove the half-written files of killed ones.

    Raises:
        CorpusError: one is at work there, or the folder is a link that leads nowhere.
    """
    broken = broken_link(out / LOCK)
    if broken is not None:
        raise CorpusError(f"{broken} is a link that leads nowhere: mount the disk that it is on, or mend the link.")
    out.mkdir(parents=True, exist_ok=True)
    busy = f"Another conversion is writing to {out}: wait until it has ended, or choose another folder."
    with locked(out / LOCK, CorpusError(busy)):
        for path in out.iterdir():
            if OWN_FILE.fullmatch(target_of_partial(path.name) or "") and path.is_file():
                path.unlink()
        yield


@contextmanager
def room(path: Path) -> Iterator[None]:
    """Say what to do where a file cannot be written, mostly as the disk is full.

    Raises:
        CorpusError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        free = shutil.disk_usage(path.parent).free
        raise CorpusError(
            f"{path} could not be written ({error}), {free / 2**20:.0f} MiB are free there. Make room and run the same "
            "command again: it goes on after the last whole shard."
        ) from error


def begun(out: Path, fresh: CorpusIndex, skip_bad: bool) -> CorpusIndex:
    """The index to go on with: that of the folder, or a fresh one where there is none.

    Raises:
        CorpusError: the folder holds shards of something else, or without entries that are now to be told of.
    """
    if not (out / INDEX).exists():
        return fresh
    index = read_index(out)
    for key, wanted in fresh.made_from.items():
        if index.made_from.get(key) != wanted:
            raise CorpusError(
                f"{out} holds shards that were made with {key}={index.made_from.get(key)}{OPTIONS.get(key, '')}, and "
                f"{key}={wanted} was asked for: choose another folder, or delete that one."
            )
    if not skip_bad and any(shard.skipped for shard in index.shards):
        raise CorpusError(
            f"{out} holds shards that leave out entries ({INDEX} names them), as skip_bad=True (--skip-bad) was given: "
            "give it again, or choose another folder."
        )
    return index
