"""From entries to parquet shards with the images inside, in memory that does not grow with the corpus.

From an entry to the row that is written, or to what is wrong with it.
"""

import logging
import os.path
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from tbps.data.atomic_files import atomic_file, file_checksum
from tbps.data.corpora.folder import alone, begun, room
from tbps.data.corpora.formats import Entry, read_corpus
from tbps.data.corpora.index import INDEX, CorpusError, CorpusIndex, Shard, origin
from tbps.data.images import BadImageError, decode_image, read_image_file, shown
from tbps.data.loading import FEATURES
from tbps.data.paths import local_path

PERSON_IDS = range(-(2**63), 2**63)  # of the column

Row = dict[str, Any]


def read_row(images: Path, entry: Entry) -> tuple[Row | None, list[str]]:
    """The row of an entry, without blank captions, and its faults; None where no image or no caption is left.

    Args:
        images: the folder that the entry's path starts from, see `find_image`.
    """
    captions = [caption for caption in entry.captions if caption.strip()]
    if entry.person_id not in PERSON_IDS:
        return None, [f"{entry.where}: {shown(entry.file_path)} has person id {entry.person_id}, expected 64 bits."]
    faults = []
    if not 0 < len(captions) == len(entry.captions):
        faults = [f"{entry.where}: {shown(entry.file_path)} has a blank caption, or none."]
    source = entry.data if entry.data is not None else find_image(images, entry.file_path)
    try:
        data = source if isinstance(source, bytes) else read_image_file(source)
        # decoded once, so that a training meets no image that breaks; these very bytes, as the file may be overwritten
        decode_image(data, shown(entry.file_path if isinstance(source, bytes) else source))
        image = {"bytes": data, "path": entry.file_path}
    except BadImageError as error:
        return None, [*faults, f"{entry.where}: {error}"]
    row = {"image": image, "captions": captions, "person_id": entry.person_id, "file_path": entry.file_path}
    return (row if captions else None), faults


def find_image(images: Path, file_path: str) -> Path:
    """The file below the folder; where none is there, its bare name in that folder, as some unpack a corpus flat."""
    path = images / file_path
    flat = images / path.name
    # `Path.is_file` raises where a name is too long
    return flat if not os.path.isfile(path) and os.path.isfile(flat) else path


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
        raise CorpusError(f"entries_per_shard={entries_per_shard} (--entries-per-shard): expected 1 or more.")
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
