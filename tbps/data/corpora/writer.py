"""Convert a corpus to parquet shards with the images inside. Memory use does not grow with the corpus."""

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
from tbps.data.corpora.folder import locked_output, resume_index, write_errors
from tbps.data.corpora.formats import Entry, read_corpus
from tbps.data.corpora.index import INDEX, CorpusError, CorpusIndex, Shard, conversion_settings
from tbps.data.images import BadImageError, decode_image, read_image_file, shown
from tbps.data.loading import FEATURES
from tbps.data.paths import local_path

logger = logging.getLogger(__name__)

PERSON_IDS = range(-(2**63), 2**63)  # the column holds 64-bit integers
SCHEMA = FEATURES.arrow_schema  # includes what `datasets` needs to decode the image column
ROW_GROUP = 64  # images in memory at a time

Row = dict[str, Any]
ReadRows = Callable[[list[Entry]], Iterable[tuple[Row | None, list[str]]]]


def read_row(images: Path, entry: Entry) -> tuple[Row | None, list[str]]:
    """Read the image of an entry and drop its blank captions.

    Args:
        images: The folder of the images, see `find_image`.

    Returns:
        The row, or None if the image cannot be read or no caption is left, and a message for every fault.
    """
    captions = [caption for caption in entry.captions if caption.strip()]
    if entry.person_id not in PERSON_IDS:
        return None, [
            f"{entry.where}: {shown(entry.file_path)} has person id {entry.person_id}, expected a 64-bit number."
        ]
    faults = []
    if not 0 < len(captions) == len(entry.captions):
        faults = [f"{entry.where}: {shown(entry.file_path)} has a blank caption, or none."]
    source = entry.data if entry.data is not None else find_image(images, entry.file_path)
    try:
        data = source if isinstance(source, bytes) else read_image_file(source)
        # decode once, so that training never meets a broken image; decode these bytes, as the file may be overwritten
        decode_image(data, shown(entry.file_path if isinstance(source, bytes) else source))
        image = {"bytes": data, "path": entry.file_path}
    except BadImageError as error:
        return None, [*faults, f"{entry.where}: {error}"]
    row = {"image": image, "captions": captions, "person_id": entry.person_id, "file_path": entry.file_path}
    return (row if captions else None), faults


def find_image(images: Path, file_path: str) -> Path:
    """Find an image below the folder, or directly in the folder by its bare name if the corpus was unpacked flat."""
    path = images / file_path
    flat = images / path.name
    # not `Path.is_file`, which raises if a name is too long
    return flat if not os.path.isfile(path) and os.path.isfile(flat) else path


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
    """Write a corpus as `shard-00000.parquet`, ... and `corpus.json`.

    If the folder holds an unfinished conversion with the same settings, only the missing shards are written. Rows have
    the columns of `load_benchmark`: image (the unchanged bytes of the file), captions, person_id and file_path.

    Args:
        name: A key of `FORMATS`.
        sources: The files of the corpus.
        out: The folder to write.
        images: The folder that the image paths are relative to.
        entries_per_shard: Entries per shard; a shard has fewer rows if some are skipped.
        skip_bad: Skip unreadable images and blank captions. The log and the index list them.
        workers: Threads that read and decode images.
        progress: Show a progress bar.

    Returns:
        The index of the complete corpus.

    Raises:
        CorpusError: See `read_corpus`. Also: `out` holds another conversion or one that is running, an entry is bad
            and may not be skipped, or a shard cannot be written.
    """
    if entries_per_shard < 1:
        raise CorpusError(f"entries_per_shard (--entries-per-shard) must be 1 or more, got {entries_per_shard}.")
    files, out, images = [Path(source) for source in sources], local_path(out), Path(images)
    if not images.is_dir():
        raise CorpusError(f"{images} is not a folder: expected the folder that holds the images of {files[0].name}.")
    entries = read_corpus(name, files)
    with locked_output(out):
        index = resume_index(out, CorpusIndex(conversion_settings(name, files, images, entries_per_shard)), skip_bad)
        if index.complete and all(shard.exists_in(out) for shard in index.shards):
            return index
        with ThreadPoolExecutor(workers) as pool, tqdm(entries, name, unit=" images", disable=not progress) as bar:
            read = partial(pool.map, partial(read_row, images))
            write_missing(out, index, iter(bar), entries_per_shard, partial(write_shard, read=read, skip_bad=skip_bad))
        index.complete = True
        with write_errors(out / INDEX):
            index.write(out)
    return index


def write_missing(
    out: Path, index: CorpusIndex, entries: Iterator[Entry], per_shard: int, write: Callable[[Path, list[Entry]], Shard]
) -> None:
    """Write every missing shard, and add it to the index as soon as it is complete."""
    for number, entries_of_shard in enumerate(iter(lambda: list(islice(entries, per_shard)), [])):
        if number < len(index.shards) and index.shards[number].exists_in(out):
            continue
        path = out / f"shard-{number:05}.parquet"
        with write_errors(path):
            index.shards[number : number + 1] = [write(path, entries_of_shard)]
            index.write(out)


def write_shard(path: Path, entries: list[Entry], read: ReadRows, skip_bad: bool) -> Shard:
    """Write one shard, one row group at a time.

    Raises:
        CorpusError: An entry is bad and may not be skipped, or all entries are bad.
    """
    count, skipped = 0, []
    with atomic_file(path) as file, pq.ParquetWriter(file, SCHEMA, compression="none") as writer:
        for start in range(0, len(entries), ROW_GROUP):
            group = list(read(entries[start : start + ROW_GROUP]))
            for fault in (fault for _, faults in group for fault in faults):
                if not skip_bad:
                    raise CorpusError(f"{fault} Correct it, or skip it with skip_bad=True (--skip-bad).")
                logger.warning("skipped: %s", fault)
                skipped.append(fault)
            rows = [row for row, _ in group if row]
            count += len(rows)
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
        if not count:
            raise CorpusError(f"All {len(skipped)} entries of {path.name} are bad: {skipped[0]}")
    return Shard(path.name, count, path.stat().st_size, file_checksum(path), skipped)
