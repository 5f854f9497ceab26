"""A corpus on disk, opened for training."""

from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow.parquet as pq
from datasets.distributed import split_dataset_by_node

from tbps.data.corpora.errors import CorpusError
from tbps.data.corpora.index import read_index
from tbps.data.loading import FEATURES


class Corpus:
    """The shards that `tbps data shard` made; `len` is the number of images, `name` that of the format.

    Raises:
        CorpusError: the corpus is not complete, or a shard is not there or has another size. (`tbps data verify` also
            reads them through.)
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        index = read_index(self.folder)
        if not index.complete:
            raise CorpusError(f"{folder} is not complete: run its `tbps data shard` again, which goes on.")
        self.files = [self.folder / shard.file for shard in index.shards]
        for path, shard in zip(self.files, index.shards, strict=True):
            if not path.is_file() or path.stat().st_size != shard.bytes:
                raise CorpusError(f"{path} is missing or has not its {shard.bytes} bytes: copy it again.")
        self.name, self.count = str(index.made_from["format"]), index.rows

    def __len__(self) -> int:
        return self.count

    def rows(self) -> datasets.IterableDataset:
        """All rows as Arrow tables, images undecoded."""
        files = [str(path) for path in self.files]
        rows = datasets.load_dataset("parquet", data_files=files, features=FEATURES, split="train", streaming=True)
        return rows.with_format("arrow")

    def captions(self) -> Iterator[str]:
        """All captions, in the order of the shards; images are not read."""
        for path in self.files:
            for captions in pq.read_table(path, columns=["captions"])["captions"].to_pylist():
                yield from captions

    def check_readers(self, processes: int, workers: int) -> None:
        """Refuse more readers than there are shards, as each reads its own.

        Raises:
            CorpusError: there are more.
        """
        if processes * workers > len(self.files):
            raise CorpusError(
                f"{self.folder} has {len(self.files)} shards, fewer than {processes} processes x {workers} loader "
                "workers: lower dataloader_num_workers, or make smaller shards by `tbps data shard --rows-per-shard`."
            )


def share(rows: datasets.IterableDataset, reader: int, readers: int) -> datasets.IterableDataset:
    """The shards that one of several readers gets; others in every epoch."""
    return split_dataset_by_node(rows, reader, readers, strategy="shards")
