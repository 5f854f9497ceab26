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
_EARLIER = 1  # whose rows cannot be asked for by range or by path, and have cameras 3 and "3.0"
_AT_ONCE = 1000  # rows in one message: a few megabytes; servers refuse more than some tens
_QUERIES_AT_ONCE = 100
_MOST_HITS = 16384  # of one search, a server's limit
_SPARE = 16  # hits asked for beyond k, to see whether rows of equal score lie behind the k-th
_NOISE = 1e-5  # by which two computations of a product with a unit vector may differ, generously
_NUMBERS = (1 << 63) - 1  # clocks count nanoseconds, to the year 2262

Entity = Mapping[str, Any]  # a row as the server gives it
Score = Callable[[np.ndarray, np.ndarray], np.ndarray]


class MilvusStore:
    """A `VectorStore` in a collection. Vectors are float32 and the index is flat, so every search is exact.

    Rows are numbered by the clock of the machine that adds them, so that several machines may add at once; where two
    add the same image at the same time, it is there once.
    """

    def __init__(
        self, where: str, collection: Collection, model: ModelIdentity, layout: Layout, is_earlier: bool
    ) -> None:
        self._where = where
        self._collection = collection
        self.model, self.layout = model, layout
        self._next = 0
        self._is_earlier = is_earlier

    @classmethod
    def open(cls, where: str, model: ModelIdentity, layout: Layout, token: str | None) -> "MilvusStore":
        """
        The store at an address, made with this layout if it is new.

        Raises:
            GalleryError: another model's, no gallery, or a server that cannot be used.
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
        The store at an address, which must be there.

        Raises:
            GalleryError: there is none, or the server cannot be used. ImportError: Milvus's client is not installed.
        """
        address = parse_address(where)
        if address.is_lite and not Path(address.uri).exists():  # connecting would make it
            raise GalleryError(f"{where} is not a gallery: it is not there. `tbps index` makes one.")
        collection = Collection(address, token)
        if not collection.call("has_collection"):
            raise GalleryError(f"{where} is not a gallery: there is no collection {address.collection!r}.")
        return cls._of(where, collection)

    @classmethod
    def _of(cls, where: str, collection: Collection) -> "MilvusStore":
        described = collection.call("describe_collection").get("properties", {})
        format, model, layout = _made_by(where, described)
        collection.load(VECTOR)
        return cls(where, collection, model, layout, format == _EARLIER)

    def _check_format(self) -> None:
        """An earlier format can only be read as a whole, which is what copying it needs."""
        if self._is_earlier:
            raise GalleryError(
                f"{self._where} has format {_EARLIER}, which is no longer searched or changed: `tbps gallery export "
                f"{self._where} OTHER` copies it into a folder or another collection. Nothing is encoded again."
            )

    @property
    def where(self) -> str:
        """The address."""
        return self._where

    def snapshot(self) -> "MilvusStore":
        """Itself: a server keeps no states."""
        return self

    def count(self, filter: Filter | None = None) -> int:
        """The number of rows, or of those that meet a filter."""
        return self._count(self._expression(filter))

    def _expression(self, filter: Filter | None) -> str:
        if filter is not None:
            self._check_format()
        return expression(filter)

    def _count(self, filter: str) -> int:
        return int(self._collection.read("query", filter=filter, output_fields=["count(*)"])[0]["count(*)"])

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are there."""
        return {entity["id"] for entity in self._entities(ids, ["id"])}

    def _entities(self, ids: Several[str], fields: Sequence[str]) -> Iterator[Entity]:
        for batch in batches(filter_ids(ids), _AT_ONCE):
            yield from self._collection.read("query", filter=f"id in {id_list(batch)}", output_fields=list(fields))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keeps nobody out, since the server lets several write; takes up what they did before."""
        self._check_format()
        self.refresh()
        try:
            yield
        finally:
            self._collection.settle()

    def refresh(self) -> None:
        """Take up what others have written; they may see it sooner, on a cluster of several replicas a little later."""
        self._collection.catch_up()

    @property
    def steps(self) -> None:
        """Vectors are kept whole."""

    def append(self, rows: Sequence[Row], vectors: np.ndarray, steps: np.ndarray | None = None) -> None:
        """
        Commit N rows and their vectors (N, E), some at a time: what a killed process has committed stays.

        Raises:
            GalleryError: a row that Milvus cannot hold, a vector that is not finite; none is committed then.
        """
        first = max(self._next, time.time_ns())
        self._next = first + len(rows)
        numbers = range(first, self._next)
        stored = as_stored(rows, vectors, "float32")
        entities = [to_entity(*one) for one in zip(rows, stored, numbers, strict=True)]
        for batch in batches(entities, _AT_ONCE):
            self._collection.write("upsert", data=batch)  # insert would keep a row twice that two machines add

    def replace(self, rows: Sequence[Row]) -> None:
        """Commit N known rows in the place of what is there, some at a time; their vectors stay. A row that another
        machine has taken out in the meantime stays out."""
        vectors = {entity["id"]: entity[VECTOR] for entity in self._entities([row.id for row in rows], ["id", VECTOR])}
        there = [row for row in rows if row.id in vectors]
        if there:
            self.append(there, np.array([vectors[row.id] for row in there], np.float32))

    def remove(self, ids: Several[str]) -> int:
        """Take rows out; the number of those that were there."""
        known = sorted(self.known(list(ids)))
        for batch in batches(known, _AT_ONCE):
            self._collection.write("delete", filter=f"id in {id_list(batch)}")
        return len(known)

    def get(self, ids: Sequence[str]) -> list[StoredHit | None]:
        """The row and the vector of each id, with a score of 0; None where it is not there."""
        by_id = {entity["id"]: entity for entity in self._entities(ids, STORED)}
        return [_found(by_id[one], 0.0) if one in by_id else None for one in ids]

    def scan(self) -> Iterator[tuple[list[Row], np.ndarray]]:
        """All rows and vectors, at most a thousand at a time, in order of insertion."""
        for entities in self._pieces("", STORED):
            vectors = np.array([entity[VECTOR] for entity in entities], np.float32)
            yield [to_row(entity) for entity in entities], vectors

    def iter_rows(self, columns: Sequence[str], filter: Filter | None = None) -> Iterator[list[dict[str, Any]]]:
        """Some fields of the rows that meet a filter, at most a thousand at a time, in order of insertion."""
        for entities in self._pieces(self._expression(filter), fields_for(columns)):
            rows = [to_row(entity) for entity in entities]
            yield [{name: getattr(row, name) for name in columns} for row in rows]

    def _pieces(self, filter: str, fields: Sequence[str]) -> Iterator[list[Entity]]:
        """Servers give rows in an order of their own, so ranges of numbers are halved until they hold few enough."""
        ranges = [(0, _NUMBERS, self._count(filter))]
        while ranges:
            start, stop, count = ranges.pop()
            if count > _AT_ONCE and stop - start > 1:
                middle = (start + stop) // 2
                below = self._count(_between(start, middle, filter))
                ranges += [(middle, stop, count - below), (start, middle, below)]
            elif count:
                within = _between(start, stop, filter)
                yield sorted(self._collection.read("query", filter=within, output_fields=list(fields)), key=_order)

    def search(self, queries: np.ndarray, request: SearchRequest) -> list[list[StoredHit]]:
        """
        The best rows for each query; every mode is exact here. Of rows that are not of unit length, as those of models
        are, ranking by the cosine may miss some.

        Where more than 16,384 rows are candidates for the last place, those of equal score may come in another order.

        Raises:
            GalleryError: k is more than a server gives.
        """
        if request.k > _MOST_HITS:
            raise GalleryError(
                f"{request.k} hits were asked of {self._where}: Milvus gives at most {_MOST_HITS}. Ask for fewer, or "
                "narrow the search by a filter."
            )
        filter = expression(request.filter, request.excluded)
        parts = [queries[start : start + _QUERIES_AT_ONCE] for start in range(0, len(queries), _QUERIES_AT_ONCE)]
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
        """For each query the ids of all rows that may be among the k best, whatever the server's rounding; and such
        of these rows as came along, which saves a second wait for the server where they are few."""
        found: dict[int, list[str]] = {}
        entities: dict[str, Entity] = {}
        limit = k
        while len(found) < len(queries):
            limit = min(2 * limit if found else limit + _SPARE, _MOST_HITS)
            pending = [place for place in range(len(queries)) if place not in found]
            fields = list(STORED) if limit * len(pending) <= _AT_ONCE else []
            answers = self._collection.read(
                "search", data=list(queries[pending]), filter=filter, limit=limit, anns_field=VECTOR,
                output_fields=fields,
            )  # fmt: skip
            for place, hits in zip(pending, answers, strict=True):
                least = hits[k - 1]["distance"] - _NOISE * np.linalg.norm(queries[place]) if len(hits) >= k else -np.inf
                if len(hits) < limit or hits[-1]["distance"] < least or limit == _MOST_HITS:
                    found[place] = [hit["id"] for hit in hits if hit["distance"] >= least]
                if fields:
                    entities |= {hit["id"]: {**hit["entity"], "id": hit["id"]} for hit in hits}
        return [found[place] for place in range(len(queries))], entities


def _best(query: np.ndarray, entities: Sequence[Entity], k: int, score: Score) -> list[StoredHit]:
    """The k best of some entities, scored anew: equal vectors get equal scores."""
    ordered = sorted(entities, key=_order)
    vectors = np.array([entity[VECTOR] for entity in ordered], np.float32).reshape(-1, len(query))
    scores = score(vectors, query)
    return [_found(ordered[place], float(scores[place])) for place in np.argsort(-scores, kind="stable")[:k]]


def _found(entity: Entity, score: float) -> StoredHit:
    return StoredHit(to_row(entity), score, np.array(entity[VECTOR], np.float32))


def _order(entity: Entity) -> tuple[int, str]:
    return entity["number"], entity["id"]


def _between(start: int, stop: int, filter: str) -> str:
    return f"number >= {start} and number < {stop}" + (f" and {filter}" if filter else "")


def _description(model: ModelIdentity, layout: Layout) -> str:
    kept = {"format": _FORMAT, "tbps_version": VERSION, "model": asdict(model)}
    return json.dumps({**kept, "layout": asdict(replace(layout, dtype="float32"))})


def _made_by(where: str, properties: Mapping[str, str]) -> tuple[int, ModelIdentity, Layout]:
    if _PROPERTY not in properties:
        raise GalleryError(f"{where} is not a gallery: something else is kept there. Choose another collection.")
    try:
        described = dict(parse_json(properties[_PROPERTY].encode()))
        format = described.get("format")
        if format not in (_FORMAT, _EARLIER):
            raise ValueError(f"it has format {format!r}, made by tbps {described.get('tbps_version')!r}; expected "
                             f"format {_FORMAT}")  # fmt: skip
        model = described.get("model")
        if format == _EARLIER and isinstance(model, dict):
            model = {**model, "traits": {}}  # which identities did not have then
        return format, build_dataclass(ModelIdentity, model), build_dataclass(Layout, described.get("layout"))
    except (TypeError, ValueError) as error:
        raise GalleryError(f"{where} cannot be used by this tbps ({error}): use the one that made it.") from error
