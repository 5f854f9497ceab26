"""What a gallery needs of the place that keeps its vectors: a folder, or a Milvus collection.

Scores of whole vectors.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np

from tbps.evaluation.fingerprint import ModelIdentity
from tbps.gallery.filters import Filter
from tbps.gallery.folder.manifest import Layout

_AT_ONCE = 128  # rows: what is computed in between stays in the processor's cache


def row_scores(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The inner products (n,) float64 of vectors (n, E) with a query (E,), each summed alone: a matrix product may give
    equal rows scores that differ in the last bit, and their order would no longer be that of insertion. A product of
    two float32 numbers is exact in float64 and does not overflow there."""
    scores, exact = np.empty(len(vectors), np.float64), query.astype(np.float64)
    for start in range(0, len(vectors), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        scores[part] = np.einsum("ij,j->i", vectors[part].astype(np.float64), exact)
    return scores


def cosines(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The cosines (n,) float64 of the angles between vectors (n, E) and a query (E,); 0 where one of the two is 0."""
    lengths = np.concatenate([
        np.linalg.norm(vectors[start : start + _AT_ONCE].astype(np.float64), axis=1)
        for start in range(0, len(vectors), _AT_ONCE)
    ])  # fmt: skip
    divisor = lengths * np.linalg.norm(query.astype(np.float64))
    return row_scores(vectors, query) / np.where(divisor > 0, divisor, 1)


Mode = Literal["exact", "int8", "global", "index"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True)
class Row:
    """What is kept of an image besides its vector.

    `metadata` is a JSON object as text; `camera`, `timestamp` (seconds since 1970, UTC) and `source` are its entries of
    these names in the type that filters compare. `thumbnail` is a small JPEG file, if one was asked for.
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
    """A row that fits a query, its score, and its vector (E,) float32 as it is stored."""

    row: Row
    score: float
    vector: np.ndarray


@dataclass(frozen=True)
class SearchRequest:
    """What is asked of a search besides the vectors.

    Args:
        k: how many rows; fewer come where fewer fit.
        mode: "exact"; "int8", the `candidates` best by 8-bit codes, then by whole vectors; "global", the same by the
            first D numbers, the global embedding; "index", the same by the approximate index of a folder.
        candidates: at least k, for the modes that need it. nprobe: lists that an index reads; None leaves it to it.
        filter: rows that may be found; with one, an index is not used, so that none is missed.
        excluded: ids of rows that may not be found.
        cosine: rank by the cosine with the query instead of the inner product; mode "exact" only.
    """

    k: int
    mode: Mode = "exact"
    candidates: int = 0
    nprobe: int | None = None
    filter: Filter | None = None
    excluded: frozenset[str] = frozenset()
    cosine: bool = False


class View(Protocol):
    """The rows of a store to be read. Rows are ordered by insertion; an id is there once."""

    @property
    def where(self) -> str:
        """The store's folder or address, for messages."""

    def count(self, filter: Filter | None = None) -> int:
        """The number of rows, or of those that meet a filter."""

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are there."""

    def get(self, ids: Sequence[str]) -> list[StoredHit | None]:
        """The row and the vector of each id, with a score of 0; None where it is not there."""

    def scan(self) -> Iterator[tuple[list[Row], np.ndarray]]:
        """All rows and vectors (n, E) float32, some at a time, in order of insertion."""

    def iter_rows(self, columns: Sequence[str], filter: Filter | None = None) -> Iterator[list[dict[str, Any]]]:
        """Some fields of `Row` of the rows that meet a filter, some rows at a time, in order of insertion. No vector
        is read."""

    def search(self, queries: np.ndarray, request: SearchRequest) -> list[list[StoredHit]]:
        """For each query (Q, E) float32 the rows of the largest inner product, or cosine, best first; of equal ones the
        row inserted first comes first."""


class VectorStore(View, Protocol):
    """Where rows and vectors are."""

    @property
    def model(self) -> ModelIdentity:
        """Whose vectors they are."""

    @property
    def layout(self) -> Layout:
        """How the vectors are stored."""

    def snapshot(self) -> View:
        """What is there now: of a folder, one state that nothing changes, for questions whose answers must fit
        together while others write; of a server, which keeps no states, the store itself."""

    def writing(self) -> AbstractContextManager[None]:
        """Around `append`, `replace` and `remove`.

        Raises:
            GalleryError: another process is writing.
        """

    def refresh(self) -> None:
        """Take up what others have written."""

    @property
    def steps(self) -> np.ndarray | None:
        """Those (E,) of the codes that are the vectors; None where vectors are kept whole, or there are none."""

    def append(self, rows: Sequence[Row], vectors: np.ndarray, steps: np.ndarray | None = None) -> None:
        """Commit N rows, none of them known, and their vectors (N, E) float32. Where they are decoded from codes of
        some steps, a store that keeps codes alone, and has none yet, gets the same codes."""

    def replace(self, rows: Sequence[Row]) -> None:
        """Commit N rows, all of them known, in the place of what is there; their vectors stay. From then on they are
        the last in the order of insertion. A reader, or a kill, finds each of them old or new."""

    def remove(self, ids: Collection[str]) -> int:
        """Take rows out; the number of those that were there."""
