"""The store of a gallery in a Milvus collection: a file of Milvus Lite, a server, or a cluster."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Collection as Several
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from tbps.data.strict_json import build_dataclass, parse_json
from tbps.evaluation.encoding import batches
from tbps.evaluation.fingerprint import ModelIdentity
from tbps.files_tbps import VERSION
from tbps.gallery.checks import GalleryError
from tbps.gallery.filters import Filter
from tbps.gallery.milvus.client import Collection, parse_address
from tbps.gallery.milvus.expressions import expression, filter_ids, id_list
from tbps.gallery.milvus.rows import STORED, VECTOR, fields_for, make_schema, to_entity, to_row
from tbps.gallery.model_identity import check_model
from tbps.gallery.store import Layout, Row, SearchRequest, StoredHit
from tbps.gallery.vectors import as_stored, cosines, row_scores

_PROPERTY = "tbps.gallery"
_FORMAT = 2
_OLD_FORMAT = 1  # its rows have no tags for ranges and paths, and distinguish cameras 3 and "3.0"
_BATCH = 1000  # rows per message: a few megabytes; servers refuse messages above some tens of megabytes
_QUERY_BATCH = 100
_MAX_HITS = 16384  # the limit of servers for one search
_EXTRA = 16  # hits requested beyond k, to see whether more rows score like the k-th
_TOLERANCE = 1e-5  # between two computations of a product with a unit vector, generously
_LAST_NUMBER = (1 << 63) - 1  # the clock in nanoseconds reaches it in the year 2262

Entity = Mapping[str, Any]  # a row as the server returns it
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]


class MilvusStore:
    """
    A `VectorStore` in a Milvus collection. Vectors are float32 and the index is flat, so every search is exact.

    Rows are numbered by the clock of the machine that adds them, so several machines may add at the same time. If two
    of them add the same image, it is stored once.
    """

    def __init__(
        self, where: str, collection: Collection, model: ModelIdentity, layout: Layout, is_old_format: bool
    ) -> None:
        self._where = where
        self._collection = collection
        self.model, self.layout = model, layout
        self._next = 0
        self._is_old_format = is_old_format

    @classmethod
    def open(cls, where: str, model: ModelIdentity, layout: Layout, token: str | None) -> "MilvusStore":
        """
        Open the store at an address, or create it with this layout.

        Raises:
            GalleryError: the store belongs to another model, the collection is not a gallery, or the server cannot be
                used.
            ImportError: Milvus's client is not installed.
        """
        collection = Collection(parse_address(where), token)
        if not collection.call("has_collection"):
            schema = make_schema(collection.client, model.embedding_dim)
            collection.create(schema, {_PROPERTY: _description(model, layout)})
        store = cls._of(where, collection)
        store._check_format()
        check_model(where, store.model, model)
        return store

    @classmethod
    def read(cls, where: str, token: str | None) -> "MilvusStore":
        """
        Open an existing store without a model.

        Raises:
            GalleryError: the store does not exist, or the server cannot be used.
            ImportError: Milvus's client is not installed.
        """
        address = parse_address(where)
        if address.is_lite and not Path(address.uri).exists():  # connecting would create it
            raise GalleryError(f"{where} is not a gallery: the file does not exist. `tbps index` creates a gallery.")
        collection = Collection(address, token)
        if not collection.call("has_collection"):
            raise GalleryError(f"{where} is not a gallery: there is no collection {address.collection!r}.")
        return cls._of(where, collection)

    @classmethod
    def _of(cls, where: str, collection: Collection) -> "MilvusStore":
        described = collection.call("describe_collection").get("properties", {})
        format, model, layout = _read_description(where, described)
        collection.load(VECTOR)
        return cls(where, collection, model, layout, format == _OLD_FORMAT)

    def _check_format(self) -> None:
        """Refuse a store of the old format, which can only be scanned, for copying."""
        if self._is_old_format:
            raise GalleryError(
                f"{self._where} has format {_OLD_FORMAT}, which can no longer be searched or changed. Copy it into a "
                f"folder or another collection by `tbps gallery export {self._where} OTHER`. No image is encoded again."
            )

    @property
    def where(self) -> str:
        """The address."""
        return self._where

    def snapshot(self) -> "MilvusStore":
        """Return the store itself: Milvus has no snapshots."""
        return self

    def count(self, filter: Filter | None = None) -> int:
        """Count the rows, or those that meet a filter."""
        return self._count(self._expression(filter))

    def _expression(self, filter: Filter | None) -> str:
        if filter is not None:
            self._check_format()
        return expression(filter)

    def _count(self, filter: str) -> int:
        return int(self._collection.read("query", filter=filter, output_fields=["count(*)"])[0]["count(*)"])

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return the ids that the store holds."""
        return {entity["id"] for entity in self._entities(ids, ["id"])}

    def _entities(self, ids: Several[str], fields: Sequence[str]) -> Iterator[Entity]:
        for batch in batches(filter_ids(ids), _BATCH):
            yield from self._collection.read("query", filter=f"id in {id_list(batch)}", output_fields=list(fields))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Enclose changes. Several processes may write to a server at once; see first what they have written."""
        self._check_format()
        self.refresh()
        try:
            yield
        finally:
            self._collection.settle()

    def refresh(self) -> None:
        """Make the next read see what others have written. A cluster of several replicas may show it a little later."""
        self._collection.catch_up()

    @property
    def steps(self) -> None:
        """None, because vectors are float32."""

    def append(self, rows: Sequence[Row], vectors: np.ndarray, steps: np.ndarray | None = None) -> None:
        """
        Commit N new rows and their vectors (N, E) float32 in batches. Committed batches survive a kill.

        Raises:
            GalleryError: Milvus cannot store a row, or a vector is not finite; then nothing is committed.
        """
        first = max(self._next, time.time_ns())
        self._next = first + len(rows)
        numbers = range(first, self._next)
        stored = as_stored(rows, vectors, "float32")
        entities = [to_entity(*one) for one in zip(rows, stored, numbers, strict=True)]
        for batch in batches(entities, _BATCH):
            self._collection.write("upsert", data=batch)  # insert would store a row twice if two machines add it

    def replace(self, rows: Sequence[Row]) -> None:
        """Replace N rows by others of the same ids, in batches; their vectors stay. A row that another machine has
        removed in the meantime stays removed."""
        vectors = {entity["id"]: entity[VECTOR] for entity in self._entities([row.id for row in rows], ["id", VECTOR])}
        existing = [row for row in rows if row.id in vectors]
        if existing:
            self.append(existing, np.array([vectors[row.id] for row in existing], np.float32))

    def remove(self, ids: Several[str]) -> int:
        """Remove rows and return how many of them there were."""
        known = sorted(self.known(list(ids)))
        for batch in batches(known, _BATCH):
            self._collection.write("delete", filter=f"id in {id_list(batch)}")
        return len(known)

    def get(self, ids: Sequence[str]) -> list[StoredHit | None]:
        """Return the row and the vector of each id, with a score of 0; None if the store does not hold it."""
        by_id = {entity["id"]: entity for entity in self._entities(ids, STORED)}
        return [_hit(by_id[id], 0.0) if id in by_id else None for id in ids]

    def scan(self) -> Iterator[tuple[list[Row], np.ndarray]]:
        """Iterate over all rows and vectors (n, E) float32, in batches and in order of insertion."""
        for entities in self._batches("", STORED):
            vectors = np.array([entity[VECTOR] for entity in entities], np.float32)
            yield [to_row(entity) for entity in entities], vectors

    def iter_rows(self, columns: Sequence[str], filter: Filter | None = None) -> Iterator[list[dict[str, Any]]]:
        """Iterate over some fields of the rows that meet a filter, in batches and in order of insertion."""
        for entities in self._batches(self._expression(filter), fields_for(columns)):
            rows = [to_row(entity) for entity in entities]
            yield [{name: getattr(row, name) for name in columns} for row in rows]

    def _batches(self, filter: str, fields: Sequence[str]) -> Iterator[list[Entity]]:
        """Iterate over entities in order of insertion. Milvus cannot sort, so ranges of numbers are halved until they
        fit into one batch."""
        ranges = [(0, _LAST_NUMBER, self._count(filter))]
        while ranges:
            start, stop, count = ranges.pop()
            if count > _BATCH and stop - start > 1:
                middle = (start + stop) // 2
                below = self._count(_between(start, middle, filter))
                ranges += [(middle, stop, count - below), (start, middle, below)]
            elif count:
                within = _between(start, stop, filter)
                yield sorted(self._collection.read("query", filter=within, output_fields=list(fields)), key=_order)

    def search(self, queries: np.ndarray, request: SearchRequest) -> list[list[StoredHit]]:
        """
        Return the best rows for each query (Q, E) float32. Every mode is exact.

        Ranking by cosine may miss rows if vectors do not have unit length; those of models do. If more than 16,384 rows
        score like the last hit, the order among equal scores may differ.

        Raises:
            GalleryError: k is larger than the limit of Milvus.
        """
        if request.k > _MAX_HITS:
            raise GalleryError(
                f"k must be at most {_MAX_HITS} for {self._where} (a limit of Milvus), got {request.k}. Use a smaller "
                "k, or narrow the search by a filter."
            )
        filter = expression(request.filter, request.excluded)
        parts = [queries[start : start + _QUERY_BATCH] for start in range(0, len(queries), _QUERY_BATCH)]
        score = cosines if request.cosine else row_scores
        return [found for part in parts for found in self._search(part, request.k, filter, score)]

    def _search(self, queries: np.ndarray, k: int, filter: str, score: Score) -> list[list[StoredHit]]:
        ids, entities = self._candidates(queries, k, filter)
        missing = {one for some in ids for one in some} - entities.keys()
        entities |= {entity["id"]: entity for entity in self._entities(missing, STORED)}
        return [
            _best(query, [entities[one] for one in some if one in entities], k, score)
            for query, some in zip(queries, ids, strict=True)
        ]

    def _candidates(self, queries: np.ndarray, k: int, filter: str) -> tuple[list[list[str]], dict[str, Entity]]:
        """
        Find all rows that may be among the k best, whatever the server's rounding.

        Returns:
            For each query the ids; and, if they are few, the entities, which saves a second request.
        """
        found: dict[int, list[str]] = {}
        entities: dict[str, Entity] = {}
        limit = k
        while len(found) < len(queries):
            limit = min(2 * limit if found else limit + _EXTRA, _MAX_HITS)
            pending = [number for number in range(len(queries)) if number not in found]
            fields = list(STORED) if limit * len(pending) <= _BATCH else []
            answers = self._collection.read(
                "search", data=list(queries[pending]), filter=filter, limit=limit, anns_field=VECTOR,
                output_fields=fields,
            )  # fmt: skip
            for number, hits in zip(pending, answers, strict=True):
                tolerance = _TOLERANCE * np.linalg.norm(queries[number])
                least = hits[k - 1]["distance"] - tolerance if len(hits) >= k else -np.inf
                if len(hits) < limit or hits[-1]["distance"] < least or limit == _MAX_HITS:
                    found[number] = [hit["id"] for hit in hits if hit["distance"] >= least]
                if fields:
                    entities |= {hit["id"]: {**hit["entity"], "id": hit["id"]} for hit in hits}
        return [found[number] for number in range(len(queries))], entities


def _best(query: np.ndarray, entities: Sequence[Entity], k: int, score: Score) -> list[StoredHit]:
    """Return the k best of some entities. They are scored here, so that equal vectors have equal scores."""
    ordered = sorted(entities, key=_order)
    vectors = np.array([entity[VECTOR] for entity in ordered], np.float32).reshape(-1, len(query))
    scores = score(vectors, query)
    return [_hit(ordered[number], float(scores[number])) for number in np.argsort(-scores, kind="stable")[:k]]


def _hit(entity: Entity, score: float) -> StoredHit:
    return StoredHit(to_row(entity), score, np.array(entity[VECTOR], np.float32))


def _order(entity: Entity) -> tuple[int, str]:
    return entity["number"], entity["id"]


def _between(start: int, stop: int, filter: str) -> str:
    return f"number >= {start} and number < {stop}" + (f" and {filter}" if filter else "")


def _description(model: ModelIdentity, layout: Layout) -> str:
    described = {"format": _FORMAT, "tbps_version": VERSION, "model": asdict(model)}
    return json.dumps({**described, "layout": asdict(replace(layout, dtype="float32"))})


def _read_description(where: str, properties: Mapping[str, str]) -> tuple[int, ModelIdentity, Layout]:
    """Return the format, the model and the layout in a collection's properties."""
    if _PROPERTY not in properties:
        raise GalleryError(f"{where} is not a gallery: the collection holds other data. Choose another collection.")
    try:
        described = dict(parse_json(properties[_PROPERTY].encode()))
        format = described.get("format")
        if format not in (_FORMAT, _OLD_FORMAT):
            raise ValueError(f"format must be {_FORMAT}, got {format!r}, made by tbps "
                             f"{described.get('tbps_version')!r}")  # fmt: skip
        model = described.get("model")
        if format == _OLD_FORMAT and isinstance(model, dict):
            model = {**model, "traits": {}}  # added to identities later
        return format, build_dataclass(ModelIdentity, model), build_dataclass(Layout, described.get("layout"))
    except (TypeError, ValueError) as error:
        raise GalleryError(
            f"{where} cannot be used by this version of tbps ({error}). Use the version that made it."
        ) from error
