"""A sharded corpus on disk, opened for training."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.distributed import split_dataset_by_node
from datasets.iterable_dataset import ArrowExamplesIterable

from tbps.data.atomic_files import checksum
from tbps.data.corpora.index import INDEX, CorpusError, read_index
from tbps.data.loading import FEATURES


class Corpus:
    """The shards that `tbps data shard` wrote. `len` is the number of images.

    Attributes:
        name: The format of the corpus.
        checksum: A checksum over the checksums of all shards; equal corpora have equal checksums.

    Raises:
        CorpusError: The corpus is not complete, or a shard is missing or has the wrong size. (`tbps data verify` also
            reads the shards.)
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        index = read_index(self.folder)
        if not index.complete:
            raise CorpusError(f"{folder} is not complete. Run the same `tbps data shard` again: it continues.")
        if not index.rows:
            raise CorpusError(
                f"{folder} has no images according to {INDEX}. Run `tbps data shard` into another folder."
            )
        self.files = [self.folder / shard.file for shard in index.shards]
        for path, shard in zip(self.files, index.shards, strict=True):
            if not shard.exists_in(self.folder):
                raise CorpusError(
                    f"{path} is missing or does not have {shard.bytes} bytes. Copy it again, or run the same "
                    "`tbps data shard`, which writes it again."
                )
        self.name, self.count = str(index.made_from["format"]), index.rows
        self.checksum = checksum("".join(shard.checksum for shard in index.shards).encode())

    def __len__(self) -> int:
        return self.count

    def rows(self) -> datasets.IterableDataset:
        """All rows as Arrow tables, with undecoded images.

        This does not use `load_dataset`: it would take paths with `[`, `*` or `?` for patterns, and would not name a
        damaged file.
        """
        tables = ArrowExamplesIterable(row_groups, {"files": self.files})
        return datasets.IterableDataset(tables, datasets.DatasetInfo(features=FEATURES)).with_format("arrow")

    def captions(self) -> Iterator[str]:
        """All captions in the order of the shards, without reading the images."""
        for _, table in row_groups(self.files, ["captions"]):
            for captions in table["captions"].to_pylist():
                yield from captions

    def check_readers(self, processes: int, workers: int) -> None:
        """Check that every reader, which is one loader worker of one process, gets a shard.

        Raises:
            CorpusError: There are more readers than shards.
        """
        if processes * workers > len(self.files):
            raise CorpusError(
                f"{self.folder} has {len(self.files)} shards, fewer than {processes} processes x {workers} loader "
                "workers. Lower dataloader_num_workers, or make smaller shards with `tbps data shard "
                "--entries-per-shard`."
            )


def row_groups(files: Sequence[Path], columns: list[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
    """Read the row groups of shards, each with a unique key.

    Raises:
        CorpusError: A shard is damaged or no longer there.
    """
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                for number in range(file.num_row_groups):
                    table = file.read_row_group(number, columns)
                    table.validate(full=True)
                    yield f"{path.name}/{number}", table
        except (pa.ArrowException, OSError) as error:
            raise CorpusError(
                f"{path} cannot be read ({error}). `tbps data verify {path.parent}` lists every damaged shard. Copy "
                "them again, or delete them and run the same `tbps data shard`, which writes the missing ones."
            ) from error


def reader_rows(rows: datasets.IterableDataset, reader: int, readers: int) -> datasets.IterableDataset:
    """The rows of the shards that one of several readers gets; the assignment changes with every epoch."""
    return split_dataset_by_node(rows, reader, readers, strategy="shards")
