"""A corpus on disk, opened for training."""

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
    """The shards that `tbps data shard` made; `len` is the number of images, `name` that of the format, `checksum` that
    of the shards' checksums: the same corpus has the same.

    Raises:
        CorpusError: the corpus is not complete, or a shard is not there or has another size. (`tbps data verify` also
            reads them through.)
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        index = read_index(self.folder)
        if not index.complete:
            raise CorpusError(f"{folder} is not complete: run its `tbps data shard` again, which goes on.")
        if not index.rows:
            raise CorpusError(f"{folder} has no images by its {INDEX}: run `tbps data shard` into another folder.")
        self.files = [self.folder / shard.file for shard in index.shards]
        for path, shard in zip(self.files, index.shards, strict=True):
            if not shard.is_there(self.folder):
                raise CorpusError(
                    f"{path} is missing or has not its {shard.bytes} bytes: copy it again, or run the same "
                    "`tbps data shard`, which writes it anew."
                )
        self.name, self.count = str(index.made_from["format"]), index.rows
        self.checksum = checksum("".join(shard.checksum for shard in index.shards).encode())

    def __len__(self) -> int:
        return self.count

    def rows(self) -> datasets.IterableDataset:
        """All rows as Arrow tables, images undecoded.

        Built from its parts, as `load_dataset` takes paths for patterns (of `[`, `*`, `?`) and names no damaged file.
        """
        tables = ArrowExamplesIterable(row_groups, {"files": self.files})
        return datasets.IterableDataset(tables, datasets.DatasetInfo(features=FEATURES)).with_format("arrow")

    def captions(self) -> Iterator[str]:
        """All captions, in the order of the shards; images are not read."""
        for _, table in row_groups(self.files, ["captions"]):
            for captions in table["captions"].to_pylist():
                yield from captions

    def check_readers(self, processes: int, workers: int) -> None:
        """Refuse more readers than there are shards, as each reads its own.

        Raises:
            CorpusError: there are more.
        """
        if processes * workers > len(self.files):
            raise CorpusError(
                f"{self.folder} has {len(self.files)} shards, fewer than {processes} processes x {workers} loader "
                "workers: lower dataloader_num_workers, or make smaller shards with `tbps data shard "
                "--entries-per-shard`."
            )


def row_groups(files: Sequence[Path], columns: list[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
    """The row groups of shards, each with a name of its own.

    Raises:
        CorpusError: a shard is damaged, or away by now; it is named.
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
                f"{path} cannot be read ({error}): `tbps data verify {path.parent}` names every damaged shard. Copy "
                "them again, or delete them and run the same `tbps data shard`, which writes what is missing."
            ) from error


def share(rows: datasets.IterableDataset, reader: int, readers: int) -> datasets.IterableDataset:
    """The shards that one of several readers gets; others in every epoch."""
    return split_dataset_by_node(rows, reader, readers, strategy="shards")
