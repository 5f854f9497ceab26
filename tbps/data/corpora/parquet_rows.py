"""Rows of a parquet file, some at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tbps.data.corpora.errors import CorpusError
from tbps.regular_file_tbps import check_regular

ROWS = 64  # with their images in memory at a time


def parquet_rows(source: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file as dictionaries.

    Raises:
        CorpusError: the file is no parquet, or damaged.
    """
    try:
        check_regular(source, source.stat())
        with pq.ParquetFile(source) as file:
            for batch in file.iter_batches(ROWS):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorpusError(f"{source} cannot be read as parquet ({error}): copy or download it again.") from error
