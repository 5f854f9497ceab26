"""From entries to parquet shards with the images inside, in memory that does not grow with the corpus."""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from tbps.data.corpora.errors import CorpusError
from tbps.data.corpora.formats import Entry, read_corpus
from tbps.data.corpora.index import INDEX, CorpusIndex, Shard, origin, read_index
from tbps.data.corpora.rows import Row, read_row
from tbps.data.loading import FEATURES
from tbps.files import atomic_file, file_checksum

logger = logging.getLogger(__name__)

SCHEMA = FEATURES.arrow_schema  # carries what `datasets` needs to decode the image column
ROW_GROUP = 64  # images that are in memory at a time

Read = Callable[[list[Entry]], Iterable[tuple[Row | None, list[str]]]]


def write_corpus(
    name: str,
    sources: Sequence[str | Path],
    out: str | Path,
    images: str | Path,
    entries_per_shard: int = 1000,
    skip_bad: bool = False,
    workers: int = 1,
    progress: bool = True,
) -> CorpusIndex:
    """Write a corpus as `shard-00000.parquet`, ... and `corpus.json`; goes on after the last shard that is whole.

    Rows hold image (the bytes of the file, unchanged), captions, person_id and file_path, as `load_benchmark` gives.

    Args:
        name: a key of `FORMATS`. sources: its JSON files. images: the folder that their paths start from.
        entries_per_shard: of the JSON, and thus rows of a shard, less those left out. workers: threads that read and
            decode images. progress: show a bar.
        skip_bad: leave out images that cannot be read and blank captions, which are named in the log and the index.

    Returns:
        The index of the whole corpus.

    Raises:
        CorpusError: as `read_corpus`; another conversion was begun in `out`; an entry is bad, which is named.
    """
    files, out, images = [Path(source) for source in sources], Path(out), Path(images)
    if not images.is_dir():
        raise CorpusError(f"{images} is not a folder: expected the one that the paths in {files[0].name} start from.")
    entries = read_corpus(name, files)
    index = begun(out, CorpusIndex(origin(name, files, entries_per_shard)))
    if index.complete:
        return index
    out.mkdir(parents=True, exist_ok=True)
    done = len(index.shards) * entries_per_shard
    bar = tqdm(islice(entries, done, None), desc=name, unit=" images", initial=done, disable=not progress)
    with ThreadPoolExecutor(workers) as pool:
        read, rest = partial(pool.map, partial(read_row, images)), iter(bar)
        while share := list(islice(rest, entries_per_shard)):
            path = out / f"shard-{len(index.shards):05}.parquet"
            index.shards.append(write_shard(path, share, read, skip_bad))
            index.write(out)
    index.complete = True
    index.write(out)
    return index


def begun(out: Path, fresh: CorpusIndex) -> CorpusIndex:
    """The index to go on with: that of the folder, or a fresh one where there is none.

    Raises:
        CorpusError: the folder holds shards of something else.
    """
    if not (out / INDEX).exists():
        return fresh
    index = read_index(out)
    for key, wanted in fresh.made_from.items():
        if index.made_from.get(key) != wanted:
            raise CorpusError(
                f"{out} holds shards that were made with {key}={index.made_from.get(key)}, and {key}={wanted} was "
                "asked for: choose another folder, or delete that one."
            )
    return index


def write_shard(path: Path, entries: list[Entry], read: Read, skip_bad: bool) -> Shard:
    """Write one shard, a row group at a time.

    Raises:
        CorpusError: an entry is bad and not to be left out, or all of them are.
    """
    count, skipped = 0, []
    with atomic_file(path) as file, pq.ParquetWriter(file, SCHEMA, compression="none") as writer:
        for start in range(0, len(entries), ROW_GROUP):
            group = list(read(entries[start : start + ROW_GROUP]))
            for fault in (fault for _, faults in group for fault in faults):
                if not skip_bad:
                    raise CorpusError(f"{fault} Mend it, or leave it out by skip_bad=True (--skip-bad).")
                logger.warning("left out: %s", fault)
                skipped.append(fault)
            rows = [row for row, _ in group if row]
            count += len(rows)
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
        if not count:
            raise CorpusError(f"All {len(skipped)} entries of {path.name} are bad: {skipped[0]}")
    return Shard(path.name, count, path.stat().st_size, file_checksum(path), skipped)
