"""The contract of a vector store: a folder, or a Milvus collection, that holds the vectors of a gallery."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np

from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery.filters import Filter

Dtype = Literal["float32", "float16", "int8"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
Mode = Literal["exact", "int8", "global", "index"]
MODES: tuple[Mode, ...] = get_args(Mode)
ROWS_PER_FILE = 65536  # of a compacted gallery: a quarter of a gigabyte at E = 1024
TARGET_RECALL = 0.99  # of an approximate index
_MAX_DIM = 1 << 14  # numbers of a vector


@dataclass(frozen=True)
class Layout:
    """
    The layout of the stored vectors (E,): `prefix_dim` numbers of the global embedding, then `num_parts` parts of
    `part_dim` numbers.

    Raises:
        ValueError: a dimension is out of range.
    """

    dtype: Dtype
    prefix_dim: int
    num_parts: int
    part_dim: int

    def __post_init__(self) -> None:
        for name, least in (("prefix_dim", 1), ("num_parts", 0), ("part_dim", 0)):
            if not least <= getattr(self, name) <= _MAX_DIM:
                raise ValueError(f"{name}: {getattr(self, name)} is not between {least} and {_MAX_DIM}")

    @property
    def width(self) -> int:
        """E, the length of a vector."""
        return self.prefix_dim + self.num_parts * self.part_dim


@dataclass(frozen=True)
class Row:
    """
    What a store holds of an image besides its vector.

    Args:
        id: a hash of the image's content.
        path: the file as it was added; None if the image was not a file.
        metadata: a JSON object as text.
        camera, source: the metadata entries of these names, as the text that filters compare.
        timestamp: the metadata entry of this name, in seconds since 1970, UTC.
        thumbnail: a small JPEG file.
    """

    id: str
    path: str | None
    metadata: str
    camera: str | None = None
    timestamp: float | None = None
    source: str | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True)
class StoredHit:
    """A row, its score for a query, and its vector (E,) float32 as stored."""

    row: Row
    score: float
    vector: np.ndarray


@dataclass(frozen=True)
class SearchRequest:
    """
    The options of a search in a store.

    Args:
        k: the number of rows; a search returns fewer if fewer qualify.
        mode: "exact"; "int8" ranks by 8-bit codes first, "global" by the global embedding alone, "index" by the
            approximate index. These three then rank the best `candidates` by their full vectors.
        candidates: at least k; not used by mode "exact".
        nprobe: the number of index lists to read; None reads as many as were measured to be enough.
        filter: only rows that meet it. A filtered search does not use the index, so it misses nothing.
        excluded: ids of rows to leave out.
        cosine: rank by cosine similarity instead of the inner product; for mode "exact" only.
    """

    k: int
    mode: Mode = "exact"
    candidates: int = 0
    nprobe: int | None = None
    filter: Filter | None = None
    excluded: frozenset[str] = frozenset()
    cosine: bool = False


@dataclass(frozen=True)
class IndexInfo:
    """
    An approximate index.

    Args:
        images: the number of images in the index.
        nlist: the number of lists that they are sorted into.
        nprobe: the number of lists that a search reads.
        recall: the measured recall@10 with `nprobe` lists. target_recall: the recall asked for.
        queries: the number of altered image vectors that the recall was measured with.
        is_used: whether mode "index" uses it. Otherwise an exact search is better, and the mode searches exactly.
    """

    images: int
    nlist: int
    nprobe: int
    recall: float
    target_recall: float
    queries: int
    is_used: bool


@dataclass(frozen=True)
class FileInfo:
    """
    The files of a gallery in a folder.

    Args:
        removed: the number of removed images whose bytes are still on disk; `compact` erases them.
        files: the number of files. bytes: their size.
        tbps_version: the version of tbps that created the gallery.
        index: the approximate index, if there is one.
    """

    removed: int
    files: int
    bytes: int
    tbps_version: str
    index: IndexInfo | None


class View(Protocol):
    """The rows of a store, for reading. They are ordered by insertion, and an id occurs once."""

    @property
    def where(self) -> str:
        """The store's folder or address, for messages."""

    def count(self, filter: Filter | None = None) -> int:
        """Count the rows, or those that meet a filter."""

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return the ids that the store holds."""

    def get(self, ids: Sequence[str]) -> list[StoredHit | None]:
        """Return the row and the vector of each id, with a score of 0; None if the store does not hold it."""

    def scan(self) -> Iterator[tuple[list[Row], np.ndarray]]:
        """Iterate over all rows and vectors (n, E) float32, in batches and in order of insertion."""

    def iter_rows(self, columns: Sequence[str], filter: Filter | None = None) -> Iterator[list[dict[str, Any]]]:
        """Iterate over some fields of the rows that meet a filter, in batches and in order of insertion. Reads no
        vectors."""

    def search(self, queries: np.ndarray, request: SearchRequest) -> list[list[StoredHit]]:
        """For each query (Q, E) float32, return the rows with the largest inner product or cosine, best first. Of
        equal scores the row inserted first comes first."""


class VectorStore(View, Protocol):
    """A place that holds rows and their vectors."""

    @property
    def model(self) -> ModelIdentity:
        """The identity of the model that made the vectors."""

    @property
    def layout(self) -> Layout:
        """The layout of the vectors."""

    def snapshot(self) -> View:
        """Return the present state, for several reads that must agree while others write. A folder's snapshot never
        changes; a server has no snapshots and returns the store itself."""

    def writing(self) -> AbstractContextManager[None]:
        """Enclose `append`, `replace` and `remove`.

        Raises:
            GalleryError: another process is writing.
        """

    def refresh(self) -> None:
        """Read what other processes have written."""

    @property
    def steps(self) -> np.ndarray | None:
        """The quantisation steps (E,) of an int8 store; None for other dtypes, or if the store is empty."""

    def append(self, rows: Sequence[Row], vectors: np.ndarray, steps: np.ndarray | None = None) -> None:
        """Commit N new rows and their vectors (N, E) float32. If the vectors were decoded from codes with some `steps`,
        an empty int8 store gets the same codes again."""

    def replace(self, rows: Sequence[Row]) -> None:
        """Replace N rows by others of the same ids; their vectors stay. They move to the end of the order of insertion.
        A reader, or a kill, finds each of them old or new."""

    def remove(self, ids: Collection[str]) -> int:
        """Remove rows and return how many of them there were."""


@runtime_checkable
class FileStore(VectorStore, Protocol):
    """A store that manages its own files: a folder. A server manages its files itself."""

    def info(self) -> FileInfo:
        """Return how many files there are, and their size."""

    def check(self, progress: bool = True) -> None:
        """Read every file.

        Raises:
            GalleryError: a file is damaged.
        """

    def compact(self, rows_per_file: int, progress: bool = True) -> None:
        """Rewrite the rows into files of one size, without those that were removed. Drops the index."""

    def build_index(self, nlist: int | None, target_recall: float, progress: bool = True) -> None:
        """Build the approximate index, and replace an older one."""

    def set_aside(self) -> str:
        """Name the damaged files that a repair kept and `compact` does not erase; "" if there are none."""
