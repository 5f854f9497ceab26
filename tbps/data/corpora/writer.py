"""From entries to parquet shards with the images inside, in memory that does not grow with the corpus."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from tbps.addresses import local_path
from tbps.data.corpora.errors import CorpusError
from tbps.data.corpora.folder import alone, begun, room
from tbps.data.corpora.formats import Entry, read_corpus
from tbps.data.corpora.index import INDEX, CorpusIndex, Shard, origin
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
    """Write a corpus as `shard-00000.parquet`, ... and `corpus.json`. Begun before, it writes the shards that are not
    there yet, or no longer.

    Rows hold image (the bytes of the file, unchanged), captions, person_id and file_path, as `load_benchmark` gives.

    Args:
        name: a key of `FORMATS`. sources: its files. images: the folder that their paths start from.
        entries_per_shard: of the JSON, and thus rows of a shard, less those left out. workers: threads that read and
            decode images. progress: show a bar.
        skip_bad: leave out images that cannot be read and blank captions, which are named in the log and the index.

    Returns:
        The index of the whole corpus.

    Raises:
        CorpusError: as `read_corpus`; another conversion was begun in `out`, or is at work there; an entry is bad,
            which is named; there is no room for a shard.
    """
    if entries_per_shard < 1:
        raise CorpusError(f"entries_per_shard={entries_per_shard} (--rows-per-shard): expected 1 or more.")
    files, out, images = [Path(source) for source in sources], local_path(out), Path(images)
    if not images.is_dir():
        raise CorpusError(f"{images} is not a folder: expected the one that the paths in {files[0].name} start from.")
    entries = read_corpus(name, files)
    with alone(out):
        index = begun(out, CorpusIndex(origin(name, files, images, entries_per_shard)), skip_bad)
        if index.complete and all(shard.is_there(out) for shard in index.shards):
            return index
        with ThreadPoolExecutor(workers) as pool, tqdm(entries, name, unit=" images", disable=not progress) as bar:
            read = partial(pool.map, partial(read_row, images))
            write_missing(out, index, iter(bar), entries_per_shard, partial(write_shard, read=read, skip_bad=skip_bad))
        index.complete = True
        with room(out / INDEX):
            index.write(out)
    return index


def write_missing(
    out: Path, index: CorpusIndex, entries: Iterator[Entry], share: int, write: Callable[[Path, list[Entry]], Shard]
) -> None:
    """Write every shard that is not there; the index knows of each as soon as it is whole."""
    for number, entries_of_shard in enumerate(iter(lambda: list(islice(entries, share)), [])):
        if number < len(index.shards) and index.shards[number].is_there(out):
            continue
        path = out / f"shard-{number:05}.parquet"
        with room(path):
            index.shards[number : number + 1] = [write(path, entries_of_shard)]
            index.write(out)


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
