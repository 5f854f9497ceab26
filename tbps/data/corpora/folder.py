"""The output folder of a conversion: locked by one conversion at a time, and resumed where the last one stopped."""

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
def locked_output(out: Path) -> Iterator[None]:
    """Create the folder, lock it against other conversions, and remove the partial files of killed ones.

    Raises:
        CorpusError: Another conversion is running there, or a link on the path is broken.
    """
    broken = broken_link(out / LOCK)
    if broken is not None:
        raise CorpusError(f"{broken} is a broken link. Mount the disk that it points to, or correct the link.")
    out.mkdir(parents=True, exist_ok=True)
    busy = f"Another conversion is writing to {out}. Wait until it has finished, or choose another folder."
    with locked(out / LOCK, CorpusError(busy)):
        for path in out.iterdir():
            if OWN_FILE.fullmatch(target_of_partial(path.name) or "") and path.is_file():
                path.unlink()
        yield


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Explain why a file could not be written, usually because the disk is full.

    Raises:
        CorpusError: In place of OSError.
    """
    try:
        yield
    except OSError as error:
        free = shutil.disk_usage(path.parent).free
        raise CorpusError(
            f"{path} could not be written ({error}); {free / 2**20:.0f} MiB are free there. Make room and run the same "
            "command again: it continues after the last complete shard."
        ) from error


def resume_index(out: Path, fresh: CorpusIndex, skip_bad: bool) -> CorpusIndex:
    """Return the index of an earlier, unfinished conversion, or `fresh` if there is none.

    Raises:
        CorpusError: The folder holds shards of another conversion, or shards with entries that this one may not skip.
    """
    if not (out / INDEX).exists():
        return fresh
    index = read_index(out)
    for key, wanted in fresh.made_from.items():
        if index.made_from.get(key) != wanted:
            raise CorpusError(
                f"{out} holds shards that were made with {key}={index.made_from.get(key)}{OPTIONS.get(key, '')}, but "
                f"this run has {key}={wanted}. Choose another folder, or delete that one."
            )
    if not skip_bad and any(shard.skipped for shard in index.shards):
        raise CorpusError(
            f"{out} holds shards with skipped entries (listed in {INDEX}), because they were made with skip_bad=True "
            "(--skip-bad). Give it again, or choose another folder."
        )
    return index
